// Any bytes as a GGUF file: a model's, and an adapter's.
#include <cstdint>
#include <span>

#include "harness/io/gguf.h"
#include "harness/io/gguf_adapter.h"
#include "tests/fuzz/expect_input_errors.h"

namespace {

// Every file is read as an adapter too: few say of themselves that they are one, and all their
// names and shapes come from outside.
void plan_as_adapter(const mg::GgufHeader& header) {
  mg::expect_input_errors([&] {
    const mg::GgufAdapterPlan plan = mg::plan_gguf_adapter(header, "fuzz.gguf");
    for (const mg::GgufAdapterPair& pair : plan.pairs) {
      mg::require(pair.a->shape.size() == 2 && pair.b->shape.size() == 2);
      mg::require(pair.a->shape[pair.embedding ? 1 : 0] == pair.b->shape[1] &&
                  pair.b->shape[1] > 0);
      mg::require(!pair.module.empty());
    }
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  mg::expect_input_errors([&] {
    const mg::GgufHeader header = mg::parse_gguf(bytes, "fuzz.gguf");
    // What was accepted lies in the file, in order, aligned, and has the size its type gives it.
    std::uint64_t end = 0;
    for (const mg::GgufTensor& tensor : header.tensors) {
      mg::require(tensor.begin >= end && tensor.begin % header.alignment == 0);
      end = tensor.begin + tensor.bytes;
      mg::require(end <= size);
      const auto elements = static_cast<std::uint64_t>(tensor.rows() * tensor.row_length());
      mg::require(elements / static_cast<std::uint64_t>(tensor.format->block) *
                      tensor.format->bytes ==
                  tensor.bytes);
    }
    plan_as_adapter(header);
  });
  return 0;
}
