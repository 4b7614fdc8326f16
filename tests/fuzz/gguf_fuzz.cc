// Any bytes as a GGUF file.
#include <cstdint>
#include <span>

#include "harness/io/gguf.h"
#include "tests/fuzz/expect_input_errors.h"

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
  });
  return 0;
}
