#include "harness/io/bitsandbytes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "harness/io/json_file.h"
#include "harness/io/quantised_parts.h"
#include "kernels/core/dequantise.h"
#include "kernels/core/error.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

constexpr std::string_view kState = ".quant_state.bitsandbytes__";
constexpr std::string_view kScale = ".SCB";
// bitsandbytes._ops: the block sizes its kernels are made for.
constexpr std::int64_t kSmallestBlock = 32;
constexpr std::int64_t kLargestBlock = 4096;
constexpr std::int64_t kNestedLevels = 256;

[[noreturn]] void refuse(std::string_view code, std::string what, std::string where,
                         std::string expected, std::string actual, std::string hint) {
  throw Error({.code = fmt::format("quantised.{}", code),
               .what = std::move(what),
               .where = std::move(where),
               .expected = std::move(expected),
               .actual = std::move(actual),
               .hint = std::move(hint)});
}

// ---- the JSON ----

class StateReader {
 public:
  StateReader(const nlohmann::json& json, const std::string& where) : json_(json), where_(where) {}

  std::int64_t block(const char* key) const {
    const nlohmann::json& value = member(key);
    const std::int64_t size = value.is_number_integer() ? value.get<std::int64_t>() : 0;
    if (size < kSmallestBlock || size > kLargestBlock || (size & (size - 1)) != 0) {
      bad(key, "a power of two from 32 to 4096", value.dump());
    }
    return size;
  }

  std::string text(const char* key) const {
    const nlohmann::json& value = member(key);
    if (!value.is_string()) {
      bad(key, "a string", std::string(json_kind(value)));
    }
    return value.get<std::string>();
  }

  DType dtype(const char* key) const {
    const std::string name = text(key);
    if (name == "float16") {
      return DType::kF16;
    }
    if (name == "bfloat16") {
      return DType::kBF16;
    }
    if (name != "float32") {
      bad(key, "float16, bfloat16 or float32", name);
    }
    return DType::kF32;
  }

  float number(const char* key) const {
    const nlohmann::json& value = member(key);
    const auto real = value.is_number() ? value.get<double>() : std::nan("");
    if (!std::isfinite(static_cast<float>(real))) {
      bad(key, "a finite number", value.dump());
    }
    return static_cast<float>(real);
  }

  /// A matrix; a vector counts as one row.
  void shape(QuantState& state) const {
    const nlohmann::json& value = member("shape");
    Shape dims;
    for (const nlohmann::json& dim : value.is_array() ? value : nlohmann::json::array()) {
      dims.push_back(dim.is_number_integer() ? dim.get<std::int64_t>() : 0);
    }
    const bool sizes = !dims.empty() && dims.size() <= 2 &&
                       std::all_of(dims.begin(), dims.end(), [](std::int64_t d) { return d > 0; });
    if (!sizes || !element_count(dims)) {
      bad("shape", "the weight's [rows, columns]", value.dump());
    }
    state.cols = dims.back();
    state.rows = dims.size() == 2 ? dims.front() : 1;
  }

  bool has(const char* key) const { return json_.contains(key); }

  [[noreturn]] void bad(const char* key, std::string expected, std::string actual) const {
    refuse("state", fmt::format("{} of the quant_state cannot be used", key), where_,
           std::move(expected), std::move(actual),
           "save the base again with bitsandbytes and transformers");
  }

 private:
  const nlohmann::json& member(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end()) {
      bad(key, "the key", "absent");
    }
    return *found;
  }

  const nlohmann::json& json_;
  const std::string& where_;
};

// ---- the tensors ----

/// Scales are stored to 8 bits where they are nested: a number at the edge of its code's cell may
/// seem to lie this much of itself beyond it.
constexpr double kScaleError = 0.02;

/// The numbers that are nearest to each of 16 levels, in units of the scale.
struct Cells {
  double low[16];
  double high[16];

  explicit Cells(const float* levels) {
    for (int code = 0; code < 16; ++code) {
      const auto level = static_cast<double>(levels[code]);
      low[code] = -std::numeric_limits<double>::infinity();
      high[code] = std::numeric_limits<double>::infinity();
      for (int other = 0; other < 16; ++other) {
        const double middle = (level + static_cast<double>(levels[other])) / 2;
        if (middle < level) {
          low[code] = std::max(low[code], middle);
        } else if (middle > level) {
          high[code] = std::min(high[code], middle);
        }
      }
    }
  }
};

class FourBitTensor final : public QuantisedTensor {
 public:
  void rows(std::int64_t begin, std::int64_t end, float* out) const override {
    dequantise_rows(matrix, begin, end, out);
  }
  /// Codes are made in blocks that run on over the rows, however they are read back.
  std::optional<std::int64_t> count_held(std::int64_t begin, std::int64_t end, const double* values,
                                         const double* noise) const override {
    const Cells cells(matrix.levels);
    std::int64_t held = 0;
    for (std::int64_t i = begin * matrix.cols; i < end * matrix.cols; ++i) {
      const auto pair = std::to_integer<unsigned>(matrix.codes[i / 2]);
      const unsigned code = i % 2 == 0 ? pair >> 4U : pair & 15U;
      const auto scale = static_cast<double>(block_scale(matrix, i / matrix.block));
      const double value = *values++;
      const double slack = *noise++ + kScaleError * std::fabs(value);
      const bool inside =
          value >= cells.low[code] * scale - slack && value <= cells.high[code] * scale + slack;
      held += inside ? 1 : 0;
    }
    return held;
  }
  const FourBitMatrix* four_bit() const override { return &matrix; }

  FourBitMatrix matrix;
};

class EightBitTensor final : public QuantisedTensor {
 public:
  void rows(std::int64_t begin, std::int64_t end, float* out) const override {
    dequantise_rows(matrix, begin, end, out);
  }
  std::optional<std::int64_t> count_held(std::int64_t begin, std::int64_t end, const double* values,
                                         const double* noise) const override {
    std::vector<float> decoded(to_index((end - begin) * matrix.cols));
    dequantise_rows(matrix, begin, end, decoded.data());
    std::int64_t held = 0;
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      float scale = 0;
      std::memcpy(
          &scale,
          matrix.scale + (begin * matrix.cols + static_cast<std::int64_t>(i)) / matrix.cols * 4,
          sizeof(scale));
      const double half_step = static_cast<double>(scale) / 254.0;
      const double off = std::fabs(values[i] - static_cast<double>(decoded[i]));
      held += off <= half_step * (1.0 + kScaleError) + noise[i] ? 1 : 0;
    }
    return held;
  }
  const EightBitMatrix* eight_bit() const override { return &matrix; }

  EightBitMatrix matrix;
};

class BitsAndBytes {
 public:
  BitsAndBytes(std::vector<StoredTensor>& tensors, BlockOrder order,
               const std::filesystem::path& folder)
      : order_(order),
        parts_(tensors, folder, "bitsandbytes",
               "save the base again with bitsandbytes and transformers") {}

  std::vector<std::unique_ptr<QuantisedTensor>> run() {
    for (const StoredTensor& tensor : parts_.all()) {
      const std::size_t at = tensor.name.rfind(kState);
      if (at != std::string::npos && at > 0) {
        read_four_bits(tensor, tensor.name.substr(0, at), tensor.name.substr(at + kState.size()));
      } else if (tensor.name.ends_with(kScale) && tensor.name.size() > kScale.size()) {
        read_eight_bits(tensor, tensor.name.substr(0, tensor.name.size() - kScale.size()));
      }
    }
    refuse_orphans();
    parts_.drop_claimed();
    return std::move(found_);
  }

 private:
  static bool is_vector(const TensorView& view, DType dtype, std::int64_t count) {
    return view.dtype == dtype && view.elements() == count;
  }

  void read_four_bits(const StoredTensor& stated, const std::string& name,
                      const std::string& suffix) {
    parts_.require(stated.view.dtype == DType::kU8, stated, "the JSON's bytes as U8");
    const QuantState state =
        parse_quant_state({reinterpret_cast<const char*>(stated.view.data), stated.view.bytes},
                          parts_.where(stated.name));
    if (state.type != suffix) {
      refuse("state", "the quant_state's name and its quant_type differ", parts_.where(stated.name),
             suffix, state.type, "save the base again with bitsandbytes and transformers");
    }
    auto tensor = std::make_unique<FourBitTensor>();
    tensor->name = name;
    tensor->format = suffix == "nf4" ? "NF4" : "FP4";
    tensor->rows_count = state.rows;
    tensor->cols_count = state.cols;
    tensor->library_dtype = state.dtype;
    FourBitMatrix& matrix = tensor->matrix;
    matrix.rows = state.rows;
    matrix.cols = state.cols;
    matrix.block = state.block;
    const StoredTensor& codes = parts_.part(name, *tensor);
    // bnb_4bit_quant_storage gives the same bytes another dtype.
    const std::int64_t bytes = (state.rows * state.cols + 1) / 2;
    parts_.require(codes.view.bytes == static_cast<std::size_t>(bytes), codes,
                   fmt::format("{} bytes of codes for [{}, {}]", bytes, state.rows, state.cols));
    matrix.codes = codes.view.data;
    read_levels(name, state, *tensor);
    read_scales(name, state, *tensor);
    parts_.claim(stated);
    tensor->parts.push_back(stated);
    order_blocks(*tensor);
    found_.push_back(std::move(tensor));
  }

  /// The library's kernels have the table built in and never read the stored one: another table
  /// would mean codes that it does not know either.
  void read_levels(const std::string& name, const QuantState& state, FourBitTensor& tensor) {
    const std::array<float, 16>& levels = state.type == "nf4" ? kNf4Levels : kFp4Levels;
    const StoredTensor& map = parts_.part(name + ".quant_map", tensor);
    parts_.require(is_vector(map.view, DType::kF32, 16), map, "F32 [16]");
    std::array<float, 16> stored{};
    std::memcpy(stored.data(), map.view.data, sizeof(stored));
    if (stored != levels) {
      refuse("layout", "the table of code values is not the format's", parts_.where(map.name),
             fmt::format("{}", fmt::join(levels, ", ")), fmt::format("{}", fmt::join(stored, ", ")),
             "bitsandbytes itself ignores the stored table; save the base again with it");
    }
    tensor.matrix.levels = levels.data();
  }

  void read_scales(const std::string& name, const QuantState& state, FourBitTensor& tensor) {
    FourBitMatrix& matrix = tensor.matrix;
    const std::int64_t blocks = matrix.blocks();
    const StoredTensor& absmax = parts_.part(name + ".absmax", tensor);
    matrix.absmax = absmax.view.data;
    tensor.detail = fmt::format("blocks of {}", state.block);
    if (!state.nested) {
      parts_.require(is_vector(absmax.view, DType::kF32, blocks), absmax,
                     fmt::format("F32 [{}]", blocks));
      return;
    }
    parts_.require(is_vector(absmax.view, DType::kU8, blocks), absmax,
                   fmt::format("U8 [{}]", blocks));
    const StoredTensor& nested = parts_.part(name + ".nested_absmax", tensor);
    const std::int64_t groups = (blocks + state.nested->block - 1) / state.nested->block;
    parts_.require(is_vector(nested.view, DType::kF32, groups), nested,
                   fmt::format("F32 [{}]", groups));
    const StoredTensor& levels = parts_.part(name + ".nested_quant_map", tensor);
    parts_.require(is_vector(levels.view, DType::kF32, kNestedLevels), levels, "F32 [256]");
    matrix.nested_absmax = nested.view.data;
    matrix.nested_levels = levels.view.data;
    matrix.nested_block = state.nested->block;
    matrix.nested_offset = state.nested->offset;
    tensor.detail += ", scales in 8 bits";
  }

  /// Which rows the AVX-512 code takes is in bitsandbytes' backends/cpu/ops.py (blocks below 2048)
  /// and cpu_ops.cpp (rows of whole vectors of 16).
  void order_blocks(FourBitTensor& tensor) const {
    FourBitMatrix& matrix = tensor.matrix;
    constexpr std::int64_t kVector = 16;
    constexpr std::int64_t kFallback = 2048;
    tensor.ambiguous_blocks = matrix.rows > 1 && matrix.cols % matrix.block != 0 &&
                              matrix.cols % kVector == 0 && matrix.block < kFallback;
    matrix.blocks_by_row = tensor.ambiguous_blocks && order_ == BlockOrder::kByRow;
  }

  void read_eight_bits(const StoredTensor& scale, const std::string& module) {
    const std::string name = module + ".weight";
    auto tensor = std::make_unique<EightBitTensor>();
    tensor->name = name;
    tensor->format = "INT8";
    const StoredTensor& codes = parts_.part(name, *tensor);
    parts_.require(
        codes.view.dtype == DType::kI8 && codes.view.shape.size() == 2 && codes.view.elements() > 0,
        codes, "I8 [rows, columns]");
    EightBitMatrix& matrix = tensor->matrix;
    matrix.rows = codes.view.dim(0);
    matrix.cols = codes.view.dim(1);
    matrix.codes = codes.view.data;
    parts_.part(scale.name, *tensor);
    parts_.require(is_vector(scale.view, DType::kF32, matrix.rows), scale,
                   fmt::format("F32 [{}]", matrix.rows));
    matrix.scale = scale.view.data;
    read_format(module, *tensor);
    tensor->rows_count = matrix.rows;
    tensor->cols_count = matrix.cols;
    tensor->library_dtype = parts_.plain_dtype();  // eight bits carry none of their own
    found_.push_back(std::move(tensor));
  }

  void read_format(const std::string& module, EightBitTensor& tensor) {
    constexpr auto kNames =
        std::to_array<std::string_view>({"row", "col32", "col_turing", "col_ampere"});
    tensor.detail = "one scale a row";
    const std::string name = module + ".weight_format";
    if (parts_.find(name) == nullptr) {
      return;  // as Linear8bitLt loads it: row
    }
    const StoredTensor& stored = parts_.part(name, tensor);
    parts_.require(stored.view.dtype == DType::kU8 && stored.view.bytes == 1, stored, "one U8");
    const auto format = std::to_integer<std::size_t>(stored.view.data[0]);
    tensor.matrix.col32 = format == 1;
    if (format > 1 || (format == 1 && tensor.matrix.cols % 32 != 0)) {
      refuse("layout", "the layout of an INT8 weight is not known", parts_.where(stored.name),
             "0 (row), or 1 (col32) with columns in whole groups of 32",
             format < kNames.size() ? fmt::format("{} ({}), {}", format, kNames[format],
                                                  to_string(tensor.parts.front().view.shape))
                                    : std::to_string(format),
             "load the base with an older bitsandbytes and save it again: it writes rows");
    }
    if (format == 1) {
      tensor.detail += ", columns in groups of 32";
    }
  }

  /// Companions without the part that says what they are.
  void refuse_orphans() const {
    constexpr auto kParts = std::to_array<std::string_view>(
        {".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".weight_format"});
    for (const StoredTensor& tensor : parts_.all()) {
      const bool companion =
          std::any_of(kParts.begin(), kParts.end(),
                      [&](std::string_view suffix) { return tensor.name.ends_with(suffix); });
      if (companion && !parts_.is_claimed(tensor.name)) {
        const bool eight = tensor.name.ends_with(".weight_format");
        refuse("incomplete",
               "a part of a quantised weight stands without the part that describes it",
               parts_.where(tensor.name),
               eight ? "the weight's SCB" : "the weight's quant_state.bitsandbytes__nf4 or __fp4",
               form_of(tensor.view),
               "an incomplete download or a save that dropped it: fetch or save the base again");
      }
    }
  }

  BlockOrder order_;
  QuantisedParts parts_;
  std::vector<std::unique_ptr<QuantisedTensor>> found_;
};

}  // namespace

std::vector<std::unique_ptr<QuantisedTensor>> read_bitsandbytes(
    std::vector<StoredTensor>& tensors, BlockOrder order, const std::filesystem::path& folder) {
  return BitsAndBytes(tensors, order, folder).run();
}

QuantState parse_quant_state(std::string_view json, const std::string& where) {
  const nlohmann::json parsed = parse_json(json, where);
  if (!parsed.is_object()) {
    refuse("state", "the quant_state is not an object", where, "{...}",
           std::string(json_kind(parsed)),
           "save the base again with bitsandbytes and transformers");
  }
  const StateReader reader(parsed, where);
  QuantState state;
  state.type = reader.text("quant_type");
  if (state.type != "nf4" && state.type != "fp4") {
    reader.bad("quant_type", "nf4 or fp4", state.type);
  }
  state.block = reader.block("blocksize");
  state.dtype = reader.dtype("dtype");
  reader.shape(state);
  if (reader.has("nested_blocksize") || reader.has("nested_offset")) {
    state.nested.emplace();
    state.nested->block = reader.block("nested_blocksize");
    state.nested->offset = reader.number("nested_offset");
    if (reader.dtype("nested_dtype") != DType::kF32) {
      reader.bad("nested_dtype", "float32", reader.text("nested_dtype"));
    }
  }
  return state;
}

}  // namespace mg
