// A quantization_config's JSON, a NUL byte, and bytes for the parts of a weight: two say how many
// rows and columns it has, one for each part whether a side of it is too long or short, the rest
// fill them.
#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/json_file.h"
#include "harness/io/scaled_weights.h"
#include "tests/fuzz/expect_input_errors.h"

namespace {

class PartFiller {
 public:
  explicit PartFiller(std::string_view from) : from_(from) {}

  std::uint8_t next() {
    return from_.empty() ? std::uint8_t{0} : static_cast<std::uint8_t>(from_[at_++ % from_.size()]);
  }

  void add(std::string name, mg::DType dtype, mg::Shape shape) {
    const std::uint8_t off = next();
    if (!shape.empty() && off < 4) {
      std::int64_t& side = shape[off % shape.size()];
      side = std::max<std::int64_t>(0, side + (off < 2 ? 1 : -1));
    }
    std::int64_t bytes = mg::dtype_bits(dtype) / 8;
    for (const std::int64_t side : shape) {
      bytes *= side;
    }
    std::vector<std::byte> content(static_cast<std::size_t>(bytes));
    for (std::byte& byte : content) {
      byte = static_cast<std::byte>(next());
    }
    if (name.ends_with("g_idx")) {  // groups that are there, as often as not
      for (std::size_t i = 0; off >= 128 && i < content.size(); ++i) {
        content[i] = i % 4 == 0 ? content[i] & std::byte{1} : std::byte{0};
      }
    }
    names_.push_back(std::move(name));
    dtypes_.push_back(dtype);
    shapes_.push_back(std::move(shape));
    contents_.push_back(std::move(content));
  }

  std::vector<mg::StoredTensor> tensors() const {
    std::vector<mg::StoredTensor> all;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      all.push_back(
          {names_[i], {dtypes_[i], shapes_[i], contents_[i].data(), contents_[i].size()}, 0});
    }
    return all;
  }

 private:
  std::string_view from_;
  std::size_t at_ = 0;
  std::vector<std::string> names_;
  std::vector<mg::DType> dtypes_;
  std::vector<mg::Shape> shapes_;
  std::vector<std::vector<std::byte>> contents_;
};

void add_parts(const mg::QuantisationConfig& config, PartFiller& filler) {
  const std::int64_t rows = 8 * (1 + filler.next() % 4);
  const std::int64_t cols = 32 * (1 + filler.next() % 2);
  const std::int64_t size = config.group_size == -1 ? cols : config.group_size;
  const std::int64_t groups = std::max<std::int64_t>(1, cols / size);
  const std::int64_t in_word = 32 / config.bits;
  switch (config.method) {
    case mg::QuantMethod::kGptq:
      filler.add("a.qweight", mg::DType::kI32, {cols / in_word, rows});
      filler.add("a.qzeros", mg::DType::kI32, {groups, rows / in_word});
      filler.add("a.scales", mg::DType::kF16, {groups, rows});
      filler.add("a.g_idx", mg::DType::kI32, {cols});
      return;
    case mg::QuantMethod::kAwq:
      filler.add("a.qweight", mg::DType::kI32, {cols, rows / 8});
      filler.add("a.qzeros", mg::DType::kI32, {groups, rows / 8});
      filler.add("a.scales", mg::DType::kBF16, {groups, rows});
      return;
    case mg::QuantMethod::kFp8:
      filler.add("a.weight", mg::DType::kF8E4M3, {rows, cols});
      filler.add("a.weight_scale_inv", mg::DType::kF32,
                 config.block ? mg::Shape{(rows - 1) / config.block->at(0) + 1,
                                          (cols - 1) / config.block->at(1) + 1}
                              : mg::Shape{rows, 1});
      return;
    case mg::QuantMethod::kMxfp4:
      filler.add("a_blocks", mg::DType::kU8, {2, rows, cols / 32, 16});
      filler.add("a_scales", mg::DType::kU8, {2, rows, cols / 32});
      return;
    case mg::QuantMethod::kCompressedTensors:
      break;
  }
  const mg::WeightScheme& scheme = config.groups.front().scheme;
  using Strategy = mg::WeightScheme::Strategy;
  const std::int64_t across =
      scheme.strategy == Strategy::kGroup ? std::max<std::int64_t>(1, cols / scheme.group_size) : 1;
  const std::int64_t down = scheme.strategy == Strategy::kTensor ? 1 : rows;
  if (scheme.packed) {
    filler.add("a.weight_packed", mg::DType::kI32, {rows, cols * scheme.bits / 32});
    filler.add("a.weight_shape", mg::DType::kI64, {2});
    filler.add("a.weight_g_idx", mg::DType::kI32, {cols});
  } else {
    filler.add("a.weight", scheme.is_float ? mg::DType::kF8E4M3 : mg::DType::kI8, {rows, cols});
  }
  filler.add("a.weight_scale", mg::DType::kBF16, {down, across});
  if (!scheme.symmetric) {
    filler.add("a.weight_zero_point", mg::DType::kI8, {down, across});
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view json = input.substr(0, input.find('\0'));
  const std::string_view rest =
      json.size() < input.size() ? input.substr(json.size() + 1) : std::string_view();
  mg::expect_input_errors([&] {
    const mg::QuantisationConfig config =
        mg::parse_quantisation_config(mg::parse_json(json, "config"), "config");
    PartFiller filler(rest);
    add_parts(config, filler);
    std::vector<mg::StoredTensor> tensors = filler.tensors();
    for (const auto& tensor : mg::read_scaled_weights(tensors, config, "folder")) {
      std::vector<float> out(static_cast<std::size_t>(tensor->rows_count * tensor->cols_count));
      tensor->rows(0, tensor->rows_count, out.data());
    }
  });
  return 0;
}
