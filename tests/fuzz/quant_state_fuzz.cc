// A quant_state's JSON, a NUL byte, and bytes for the parts that it describes: three say how many
// bytes each part is too long or short, the rest fill them.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/bitsandbytes.h"
#include "kernels/core/dequantise.h"
#include "tests/fuzz/expect_input_errors.h"

namespace {

struct Part {
  std::string name;
  mg::DType dtype;
  std::int64_t elements;
  std::vector<std::byte> bytes;
};

class Filler {
 public:
  explicit Filler(std::string_view from) : from_(from) {}

  std::byte next() {
    return from_.empty() ? std::byte{0} : static_cast<std::byte>(from_[at_++ % from_.size()]);
  }

  Part part(std::string name, mg::DType dtype, std::int64_t elements) {
    const auto off = static_cast<std::int64_t>(next());
    elements = std::max<std::int64_t>(0, elements + (off == 1 ? 1 : off == 2 ? -1 : 0));
    Part part{std::move(name), dtype, elements, {}};
    part.bytes.resize(static_cast<std::size_t>(elements * mg::dtype_bits(dtype) / 8));
    for (std::byte& byte : part.bytes) {
      byte = next();
    }
    return part;
  }

 private:
  std::string_view from_;
  std::size_t at_ = 0;
};

void read_as(const mg::QuantState& state, std::string_view json, std::string_view rest) {
  const std::int64_t elements = state.rows * state.cols;
  const std::int64_t blocks = (elements + state.block - 1) / state.block;
  Filler filler(rest);
  std::vector<Part> parts;
  parts.push_back(filler.part("w", mg::DType::kU8, (elements + 1) / 2));
  parts.push_back(filler.part("w.absmax", state.nested ? mg::DType::kU8 : mg::DType::kF32, blocks));
  parts.push_back({"w.quant_map", mg::DType::kF32, 16, std::vector<std::byte>(64)});
  const std::array<float, 16>& levels = state.type == "nf4" ? mg::kNf4Levels : mg::kFp4Levels;
  std::memcpy(parts.back().bytes.data(), levels.data(), 64);
  if (state.nested) {
    parts.push_back(filler.part("w.nested_absmax", mg::DType::kF32,
                                (blocks + state.nested->block - 1) / state.nested->block));
    parts.push_back(filler.part("w.nested_quant_map", mg::DType::kF32, 256));
  }
  Part described{"w.quant_state.bitsandbytes__" + state.type,
                 mg::DType::kU8,
                 static_cast<std::int64_t>(json.size()),
                 {}};
  for (const char letter : json) {
    described.bytes.push_back(static_cast<std::byte>(letter));
  }
  parts.push_back(std::move(described));
  std::vector<mg::StoredTensor> tensors;
  for (const Part& part : parts) {
    tensors.push_back(
        {part.name, {part.dtype, {part.elements}, part.bytes.data(), part.bytes.size()}, 0});
  }
  for (const mg::BlockOrder order : {mg::BlockOrder::kByRow, mg::BlockOrder::kFlat}) {
    std::vector<mg::StoredTensor> left = tensors;
    for (const auto& tensor : mg::read_bitsandbytes(left, order, "folder")) {
      mg::require(left.empty() && tensor->rows_count * tensor->cols_count == elements);
      std::vector<float> out(static_cast<std::size_t>(elements));
      tensor->rows(0, tensor->rows_count, out.data());
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view json = input.substr(0, input.find('\0'));
  const std::string_view rest =
      json.size() < input.size() ? input.substr(json.size() + 1) : std::string_view();
  mg::expect_input_errors([&] {
    const mg::QuantState state = mg::parse_quant_state(json, "quant_state");
    mg::require(state.rows > 0 && state.cols > 0 && state.block >= 32);
    constexpr std::int64_t kMost = 1 << 14;
    if (state.rows <= kMost && state.cols <= kMost && state.rows * state.cols <= kMost) {
      read_as(state, json, rest);
    }
  });
  return 0;
}
