#include "harness/io/scaled_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "harness/io/quantised_parts.h"
#include "kernels/core/error.h"
#include "kernels/core/scaled_codes.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

class ScaledTensor final : public QuantisedTensor {
 public:
  void rows(std::int64_t begin, std::int64_t end, float* out) const override {
    dequantise_rows(matrix, begin, end, out);
  }

  ScaledCodes matrix;
  CodeGrid zeros;
};

class ExpertsTensor final : public QuantisedTensor {
 public:
  void rows(std::int64_t begin, std::int64_t end, float* out) const override {
    dequantise_rows(experts, begin, end, out);
  }

  MxFp4Experts experts;
};

std::int64_t ceil_div(std::int64_t size, std::int64_t part) {
  return size / part + (size % part != 0 ? 1 : 0);
}

bool is_matrix(const StoredTensor& stored, DType dtype) {
  return stored.view.dtype == dtype && stored.view.shape.size() == 2 && stored.view.elements() > 0;
}

bool is_scale(DType dtype) {
  return is_plain(dtype);
}

constexpr std::string_view kScaleTypes = "F16, BF16 or F32";
constexpr std::string_view kWeight = ".weight";

/// The name before `suffix`; nothing where it does not end `name`, or is all of it.
std::optional<std::string> stem(const std::string& name, std::string_view suffix) {
  if (!name.ends_with(suffix) || name.size() == suffix.size()) {
    return std::nullopt;
  }
  return name.substr(0, name.size() - suffix.size());
}

std::string_view method_name(QuantMethod method) {
  switch (method) {
    case QuantMethod::kGptq:
      return "GPTQ";
    case QuantMethod::kAwq:
      return "AWQ";
    case QuantMethod::kFp8:
      return "an FP8 checkpoint";
    case QuantMethod::kMxfp4:
      return "MXFP4";
    case QuantMethod::kCompressedTensors:
      return "compressed-tensors";
  }
  return "";
}

class ScaledReader {
 public:
  ScaledReader(std::vector<StoredTensor>& tensors, const QuantisationConfig& config,
               const std::filesystem::path& folder)
      : config_(config),
        parts_(tensors, folder, std::string(method_name(config.method)),
               "fetch or save the checkpoint again, with the config.json that belongs to it") {}

  std::vector<std::unique_ptr<QuantisedTensor>> run() {
    for (const StoredTensor& tensor : parts_.all()) {
      read(tensor);
    }
    refuse_orphans();
    claim_activation_scales();
    parts_.drop_claimed();
    return std::move(found_);
  }

 private:
  void read(const StoredTensor& tensor) {
    const TensorView& view = tensor.view;
    const bool bytes =
        view.shape.size() >= 2 && (view.dtype == DType::kI8 || view.dtype == DType::kU8 ||
                                   view.dtype == DType::kF8E4M3 || view.dtype == DType::kF8E5M2);
    switch (config_.method) {
      case QuantMethod::kGptq:
      case QuantMethod::kAwq:
        if (const auto module = stem(tensor.name, ".qweight")) {
          config_.method == QuantMethod::kGptq ? read_gptq(*module) : read_awq(*module);
        }
        return;
      case QuantMethod::kFp8:
        if (bytes && !is_companion(tensor.name)) {
          read_fp8(tensor);
        }
        return;
      case QuantMethod::kMxfp4:
        if (const auto name = stem(tensor.name, "_blocks")) {
          read_experts(*name);
        }
        return;
      case QuantMethod::kCompressedTensors:
        if (const auto module = stem(tensor.name, ".weight_packed")) {
          read_packed(*module);
        } else if (const auto plain = stem(tensor.name, kWeight); plain && bytes) {
          read_bytes(*plain);
        }
        return;
    }
  }

  std::unique_ptr<ScaledTensor> start(const std::string& name, std::string format) {
    auto tensor = std::make_unique<ScaledTensor>();
    tensor->name = name;
    tensor->format = std::move(format);
    return tensor;
  }

  void finish(std::unique_ptr<ScaledTensor> tensor) {
    const bool of_its_own = tensor->parts.front().name == tensor->name;
    if (const StoredTensor* plain = parts_.find(tensor->name); plain != nullptr && !of_its_own) {
      parts_.refuse("layout", "a weight is there as codes and as it is", tensor->name,
                    fmt::format("{} alone", tensor->parts.front().name), form_of(plain->view));
    }
    tensor->rows_count = tensor->matrix.rows;
    tensor->cols_count = tensor->matrix.cols;
    if (tensor->zeros.data != nullptr) {
      tensor->matrix.zeros = &tensor->zeros;
    }
    found_.push_back(std::move(tensor));
  }

  // ---- GPTQ and AWQ ----

  /// The inputs of a group; of -1, all of them.
  std::int64_t group_of(const StoredTensor& codes, std::int64_t inputs) const {
    const std::int64_t size = config_.group_size == -1 ? inputs : config_.group_size;
    if (inputs % size != 0) {
      parts_.refuse("layout", "the group size does not divide the inputs of a weight", codes.name,
                    fmt::format("inputs in groups of {}", size), fmt::format("{} inputs", inputs));
    }
    return size;
  }

  /// Scales [groups, outputs] and zeros, packed along the outputs.
  void read_groups(const std::string& module, ScaledTensor& tensor, std::int64_t group) {
    ScaledCodes& matrix = tensor.matrix;
    const std::int64_t groups = matrix.cols / group;
    const std::int64_t in_word = 32 / config_.bits;
    const StoredTensor& scales = parts_.part(module + ".scales", tensor);
    parts_.require(is_scale(scales.view.dtype) && scales.view.shape == Shape{groups, matrix.rows},
                   scales, fmt::format("{} [{}, {}]", kScaleTypes, groups, matrix.rows));
    const StoredTensor& zeros = parts_.part(module + ".qzeros", tensor);
    parts_.require(zeros.view.dtype == DType::kI32 && matrix.rows % in_word == 0 &&
                       zeros.view.shape == Shape{groups, matrix.rows / in_word},
                   zeros, fmt::format("I32 [{}, {}]", groups, ceil_div(matrix.rows, in_word)));
    matrix.scales = scales.view.data;
    matrix.scale_dtype = scales.view.dtype;
    matrix.rounded_to = scales.view.dtype;
    matrix.col_block = group;
    matrix.row_stride = 1;
    matrix.group_stride = matrix.rows;
    tensor.library_dtype = scales.view.dtype;
    tensor.zeros = {.data = zeros.view.data,
                    .bits = static_cast<int>(config_.bits),
                    .rows_a_word = in_word,
                    .row_stride = 1,
                    .col_stride = matrix.rows / in_word};
    tensor.detail = group == matrix.cols && config_.group_size == -1
                        ? "a scale per output"
                        : fmt::format("groups of {}", group);
  }

  void read_gptq(const std::string& module) {
    auto tensor = start(module + std::string(kWeight), fmt::format("GPTQ-{}", config_.bits));
    const StoredTensor& codes = parts_.part(module + ".qweight", *tensor);
    const std::int64_t in_word = 32 / config_.bits;
    parts_.require(is_matrix(codes, DType::kI32), codes,
                   fmt::format("I32 [inputs / {}, outputs]", in_word));
    ScaledCodes& matrix = tensor->matrix;
    matrix.rows = codes.view.dim(1);
    matrix.cols = codes.view.dim(0) * in_word;
    matrix.codes = {.data = codes.view.data,
                    .bits = static_cast<int>(config_.bits),
                    .cols_a_word = in_word,
                    .row_stride = 1,
                    .col_stride = matrix.rows};
    const std::int64_t group = group_of(codes, matrix.cols);
    read_groups(module, *tensor, group);
    tensor->zeros.offset = config_.zeros_less_one ? 1 : 0;
    read_order(module + ".g_idx", config_.act_order, *tensor);
    finish(std::move(tensor));
  }

  void read_awq(const std::string& module) {
    auto tensor = start(module + std::string(kWeight), "AWQ-4");
    const StoredTensor& codes = parts_.part(module + ".qweight", *tensor);
    parts_.require(is_matrix(codes, DType::kI32), codes, "I32 [inputs, outputs / 8]");
    ScaledCodes& matrix = tensor->matrix;
    matrix.rows = codes.view.dim(1) * 8;
    matrix.cols = codes.view.dim(0);
    matrix.codes = {.data = codes.view.data,
                    .rows_a_word = 8,
                    .row_stride = 1,
                    .col_stride = codes.view.dim(1),
                    .awq_order = true};
    read_groups(module, *tensor, group_of(codes, matrix.cols));
    tensor->zeros.awq_order = true;
    finish(std::move(tensor));
  }

  /// Which group each column belongs to: where the config says that columns were ordered, by the
  /// stored list, otherwise one group after the other, which a stored list must repeat.
  void read_order(const std::string& name, bool ordered, ScaledTensor& tensor) {
    ScaledCodes& matrix = tensor.matrix;
    if (!ordered && parts_.find(name) == nullptr) {
      return;
    }
    const StoredTensor& stored = parts_.part(name, tensor);
    parts_.require(stored.view.dtype == DType::kI32 && stored.view.shape == Shape{matrix.cols},
                   stored, fmt::format("I32 [{}]", matrix.cols));
    const std::int64_t groups = matrix.cols / matrix.col_block;
    for (std::int64_t col = 0; col < matrix.cols; ++col) {
      std::int32_t group = 0;
      std::memcpy(&group, stored.view.data + col * 4, sizeof(group));
      if (group < 0 || group >= groups) {
        parts_.refuse("layout", "a column belongs to a group that is not there", stored.name,
                      fmt::format("groups 0 to {}", groups - 1),
                      fmt::format("group {} of column {}", group, col));
      }
      if (!ordered && group != col / matrix.col_block) {
        parts_.refuse(
            "layout", "columns are grouped out of order, and config.json says they are not",
            stored.name, fmt::format("group {} of column {}", col / matrix.col_block, col),
            std::to_string(group),
            "desc_act (or actorder) of quantization_config belongs to other weights: take "
            "config.json from the folder the weights came from");
      }
    }
    if (ordered) {
      matrix.group_of_col = stored.view.data;
      tensor.detail += ", columns ordered";
    }
  }

  // ---- a grid of scales over codes [outputs, inputs] ----

  /// Scales of blocks of `rows` x `cols`; 0: the whole side.
  void read_grid(const StoredTensor& scales, std::int64_t rows, std::int64_t cols, bool exponents,
                 ScaledTensor& tensor) {
    ScaledCodes& matrix = tensor.matrix;
    matrix.row_block = rows == 0 ? matrix.rows : rows;
    matrix.col_block = cols == 0 ? matrix.cols : cols;
    const std::int64_t down = ceil_div(matrix.rows, matrix.row_block);
    const std::int64_t across = ceil_div(matrix.cols, matrix.col_block);
    const Shape& shape = scales.view.shape;
    const bool one_side = cols == 0 && shape == Shape{down};
    const bool single = rows == 0 && cols == 0 && shape.empty();
    const DType dtype = scales.view.dtype;
    const bool number =
        is_scale(dtype) || dtype == DType::kF8E8M0 || (exponents && dtype == DType::kU8);
    parts_.require(
        number && (shape == Shape{down, across} || one_side || single), scales,
        fmt::format("{}{} {}", kScaleTypes, exponents ? ", F8_E8M0 or U8" : "",
                    rows == 0 && cols == 0 ? "[] or [1]" : to_string(Shape{down, across})));
    matrix.scales = scales.view.data;
    matrix.scale_dtype = dtype;
    matrix.row_stride = across;
    matrix.group_stride = 1;
    if (rows == 0 && cols == 0) {
      tensor.detail = "one scale";
    } else if (cols == 0) {
      tensor.detail = "a scale per output";
    } else {
      tensor.detail = rows == 1 ? fmt::format("groups of {}", cols)
                                : fmt::format("blocks of {} x {}", rows, cols);
    }
  }

  void take_bytes(const StoredTensor& codes, ScaledTensor& tensor) const {
    parts_.require(codes.view.shape.size() == 2 && codes.view.elements() > 0, codes,
                   "codes [outputs, inputs]");
    tensor.matrix.rows = codes.view.dim(0);
    tensor.matrix.cols = codes.view.dim(1);
    tensor.matrix.codes = {
        .data = codes.view.data, .in_bytes = true, .dtype = codes.view.dtype, .bits = 8};
  }

  void read_fp8(const StoredTensor& codes) {
    auto tensor = start(codes.name, "FP8");
    parts_.part(codes.name, *tensor);
    parts_.require(codes.view.dtype == DType::kF8E4M3, codes, "F8_E4M3 [outputs, inputs]");
    take_bytes(codes, *tensor);
    const bool inverse = parts_.find(codes.name + "_scale") == nullptr;
    const StoredTensor& scales =
        parts_.part(codes.name + (inverse ? "_scale_inv" : "_scale"), *tensor);
    if (config_.block) {
      read_grid(scales, config_.block->at(0), config_.block->at(1), config_.exponent_scales,
                *tensor);
    } else {
      const bool whole = scales.view.elements() == 1;
      read_grid(scales, whole ? 0 : 1, 0, config_.exponent_scales, *tensor);
    }
    tensor->library_dtype = parts_.plain_dtype();
    finish(std::move(tensor));
  }

  // ---- compressed-tensors ----

  const WeightScheme& scheme_of(const std::string& module, const StoredTensor& codes,
                                bool packed) const {
    const WeightScheme* scheme = config_.scheme_of(module);
    if (scheme == nullptr) {
      parts_.refuse("layout", "codes of a module that config.json does not count as quantised",
                    codes.name, "a target of config_groups that is not in ignore",
                    form_of(codes.view));
    }
    if (scheme->packed != packed) {
      parts_.refuse("layout", "a weight is stored in another format than config.json says",
                    codes.name,
                    scheme->packed ? fmt::format("{}.weight_packed", module)
                                   : fmt::format("{}.weight of codes", module),
                    form_of(codes.view));
    }
    return *scheme;
  }

  void read_scheme(const std::string& module, const WeightScheme& scheme, ScaledTensor& tensor) {
    using Strategy = WeightScheme::Strategy;
    ScaledCodes& matrix = tensor.matrix;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    if (scheme.strategy == Strategy::kChannel) {
      rows = 1;
    } else if (scheme.strategy == Strategy::kGroup) {
      rows = 1;
      cols = scheme.group_size;
      if (matrix.cols % cols != 0) {
        parts_.refuse("layout", "the group size does not divide the inputs of a weight",
                      tensor.parts.front().name, fmt::format("inputs in groups of {}", cols),
                      fmt::format("{} inputs", matrix.cols));
      }
    } else if (scheme.strategy == Strategy::kBlock) {
      rows = scheme.block[0];
      cols = scheme.block[1];
    }
    const StoredTensor& scales = parts_.part(module + ".weight_scale", tensor);
    read_grid(scales, rows, cols, false, tensor);
    parts_.require(is_scale(scales.view.dtype), scales, std::string(kScaleTypes));
    matrix.rounded_to = scales.view.dtype;
    tensor.library_dtype = scales.view.dtype;
    read_zeros(module, scheme, tensor);
    if (scheme.strategy == Strategy::kGroup) {
      read_column_groups(module + ".weight_g_idx", scheme, tensor);
    }
  }

  void read_column_groups(const std::string& name, const WeightScheme& scheme,
                          ScaledTensor& tensor) {
    // Older versions keep a list of -1 where columns stayed in order.
    const StoredTensor* stored = parts_.find(name);
    if (stored != nullptr && stored->view.dtype == DType::kI32 && stored->view.bytes >= 4 &&
        std::all_of(stored->view.data, stored->view.data + stored->view.bytes,
                    [](std::byte byte) { return byte == std::byte{0xFF}; })) {
      parts_.part(name, tensor);
      return;
    }
    read_order(name, scheme.group_order, tensor);
  }

  void read_zeros(const std::string& module, const WeightScheme& scheme, ScaledTensor& tensor) {
    ScaledCodes& matrix = tensor.matrix;
    const int half = scheme.packed ? 1 << (scheme.bits - 1) : 0;
    matrix.zero = half;
    const std::string name = module + ".weight_zero_point";
    if (scheme.symmetric) {
      if (const StoredTensor* stored = parts_.find(name)) {
        parts_.refuse("layout", "a zero point beside a weight that config.json calls symmetric",
                      name, "none", form_of(stored->view));
      }
      return;
    }
    if (scheme.is_float) {
      parts_.refuse("unsupported", "zero points of FP8 weights cannot be read yet", name,
                    "symmetric: true", "symmetric: false",
                    "give the 16-bit checkpoint that this one was quantised from");
    }
    const StoredTensor& stored = parts_.part(name, tensor);
    const std::int64_t down = ceil_div(matrix.rows, matrix.row_block);
    const std::int64_t across = matrix.row_stride;
    if (scheme.packed && scheme.strategy != WeightScheme::Strategy::kTensor) {
      const std::int64_t in_word = 32 / scheme.bits;
      const Shape shape = {ceil_div(matrix.rows, in_word), across};
      parts_.require(
          stored.view.dtype == DType::kI32 && stored.view.shape == shape && matrix.row_block == 1,
          stored, "I32 " + to_string(shape));
      tensor.zeros = {.data = stored.view.data,
                      .bits = static_cast<int>(scheme.bits),
                      .rows_a_word = in_word,
                      .row_stride = across,
                      .col_stride = 1};
    } else {
      parts_.require(stored.view.dtype == DType::kI8 && stored.view.elements() == down * across,
                     stored, "I8 " + to_string(Shape{down, across}));
      tensor.zeros = {.data = stored.view.data,
                      .in_bytes = true,
                      .dtype = DType::kI8,
                      .bits = 8,
                      .rows_a_word = matrix.row_block,
                      .row_stride = across,
                      .col_stride = 1,
                      .offset = half};
    }
    tensor.detail += ", with zero points";
  }

  void read_packed(const std::string& module) {
    const StoredTensor& stated = *parts_.find(module + ".weight_packed");
    const WeightScheme& scheme = scheme_of(module, stated, true);
    auto tensor = start(module + std::string(kWeight), fmt::format("INT{} packed", scheme.bits));
    const StoredTensor& codes = parts_.part(stated.name, *tensor);
    const std::int64_t in_word = 32 / scheme.bits;
    parts_.require(is_matrix(codes, DType::kI32), codes,
                   fmt::format("I32 [outputs, inputs / {}]", in_word));
    ScaledCodes& matrix = tensor->matrix;
    matrix.rows = codes.view.dim(0);
    matrix.cols = columns_of(module, codes, in_word, *tensor);
    matrix.codes = {.data = codes.view.data,
                    .bits = static_cast<int>(scheme.bits),
                    .cols_a_word = in_word,
                    .row_stride = codes.view.dim(1),
                    .col_stride = 1};
    read_scheme(module, scheme, *tensor);
    finish(std::move(tensor));
  }

  /// A row's last word may be filled in part: weight_shape says how far.
  std::int64_t columns_of(const std::string& module, const StoredTensor& codes,
                          std::int64_t in_word, ScaledTensor& tensor) {
    const StoredTensor& stored = parts_.part(module + ".weight_shape", tensor);
    const bool wide = stored.view.dtype == DType::kI64;
    parts_.require((wide || stored.view.dtype == DType::kI32) && stored.view.shape == Shape{2},
                   stored, "I64 [2]");
    std::array<std::int64_t, 2> sides = {};
    for (std::size_t i = 0; i < 2; ++i) {
      std::int32_t narrow = 0;
      std::memcpy(wide ? static_cast<void*>(&sides[i]) : static_cast<void*>(&narrow),
                  stored.view.data + i * (wide ? 8 : 4), wide ? 8 : 4);
      sides[i] = wide ? sides[i] : narrow;
    }
    const std::int64_t most = codes.view.dim(1) * in_word;
    if (sides[0] != codes.view.dim(0) || sides[1] > most || sides[1] <= most - in_word) {
      parts_.refuse("layout", "weight_shape is not the shape of the codes", stored.name,
                    fmt::format("[{}, {} to {}]", codes.view.dim(0), most - in_word + 1, most),
                    fmt::format("[{}, {}]", sides[0], sides[1]));
    }
    return sides[1];
  }

  void read_bytes(const std::string& module) {
    const StoredTensor& codes = *parts_.find(module + std::string(kWeight));
    const WeightScheme& scheme = scheme_of(module, codes, false);
    auto tensor = start(codes.name, scheme.is_float ? "FP8" : "INT8");
    parts_.part(codes.name, *tensor);
    parts_.require(codes.view.dtype == (scheme.is_float ? DType::kF8E4M3 : DType::kI8), codes,
                   scheme.is_float ? "F8_E4M3 [outputs, inputs]" : "I8 [outputs, inputs]");
    take_bytes(codes, *tensor);
    read_scheme(module, scheme, *tensor);
    finish(std::move(tensor));
  }

  // ---- MXFP4 ----

  void read_experts(const std::string& name) {
    auto tensor = std::make_unique<ExpertsTensor>();
    tensor->name = name;
    tensor->format = "MXFP4";
    tensor->detail = "blocks of 32";
    const StoredTensor& blocks = parts_.part(name + "_blocks", *tensor);
    parts_.require(blocks.view.dtype == DType::kU8 && blocks.view.shape.size() == 4 &&
                       blocks.view.dim(3) == 16 && blocks.view.elements() > 0,
                   blocks, "U8 [experts, outputs, inputs / 32, 16]");
    const StoredTensor& scales = parts_.part(name + "_scales", *tensor);
    const Shape expected = {blocks.view.dim(0), blocks.view.dim(1), blocks.view.dim(2)};
    parts_.require(scales.view.dtype == DType::kU8 && scales.view.shape == expected, scales,
                   "U8 " + to_string(expected));
    if (const StoredTensor* plain = parts_.find(name)) {
      parts_.refuse("layout", "a weight is there as codes and as it is", name,
                    blocks.name + " alone", form_of(plain->view));
    }
    MxFp4Experts& experts = tensor->experts;
    experts = {.experts = blocks.view.dim(0),
               .rows = blocks.view.dim(1),
               .cols = blocks.view.dim(2) * 32,
               .blocks = blocks.view.data,
               .scales = scales.view.data};
    tensor->stack = experts.experts;
    tensor->rows_count = experts.experts * experts.cols;
    tensor->cols_count = experts.rows;
    tensor->library_dtype = DType::kBF16;
    found_.push_back(std::move(tensor));
  }

  // ---- what is left ----

  static bool is_companion(const std::string& name) {
    return name.ends_with("_scale_inv") || name.ends_with("_scale");
  }

  /// Companions without the codes that they belong to: values in their place would be used as they
  /// are, and these scales dropped.
  void refuse_orphans() const {
    constexpr auto kGroups = std::to_array<std::string_view>({".qzeros", ".scales", ".g_idx"});
    constexpr auto kBytes = std::to_array<std::string_view>({".weight_scale_inv", ".weight_scale"});
    constexpr auto kExperts = std::to_array<std::string_view>({"_scales"});
    constexpr auto kSchemes = std::to_array<std::string_view>(
        {".weight_scale", ".weight_zero_point", ".weight_shape", ".weight_g_idx"});
    std::span<const std::string_view> suffixes = kGroups;
    std::string codes = ".qweight";
    if (config_.method == QuantMethod::kFp8) {
      suffixes = kBytes;
      codes = ".weight";
    } else if (config_.method == QuantMethod::kMxfp4) {
      suffixes = kExperts;
      codes = "_blocks";
    } else if (config_.method == QuantMethod::kCompressedTensors) {
      suffixes = kSchemes;
      codes = ".weight_packed or codes in .weight";
    }
    for (const StoredTensor& tensor : parts_.all()) {
      for (const std::string_view suffix : suffixes) {
        if (const auto owner = stem(tensor.name, suffix);
            owner && !parts_.is_claimed(tensor.name)) {
          parts_.refuse("incomplete",
                        "a part of a quantised weight stands without the codes it belongs to",
                        tensor.name, *owner + codes, form_of(tensor.view),
                        "an incomplete download, or values were put in the codes' place and the "
                        "scales left: fetch or save the checkpoint again");
        }
      }
    }
  }

  /// Lanes compute with the weights' values; how a server rounds activations or its cache is not
  /// imitated.
  void claim_activation_scales() {
    constexpr auto kSuffixes =
        std::to_array<std::string_view>({".input_scale", ".input_zero_point", ".output_scale",
                                         ".output_zero_point", ".activation_scale", ".k_scale",
                                         ".v_scale", ".q_scale", ".k_zero_point", ".v_zero_point"});
    for (const StoredTensor& tensor : parts_.all()) {
      for (const std::string_view suffix : kSuffixes) {
        if (stem(tensor.name, suffix) && tensor.view.shape.size() <= 1) {
          parts_.claim(tensor);
        }
      }
    }
  }

  const QuantisationConfig& config_;
  QuantisedParts parts_;
  std::vector<std::unique_ptr<QuantisedTensor>> found_;
};

}  // namespace

std::vector<std::unique_ptr<QuantisedTensor>> read_scaled_weights(
    std::vector<StoredTensor>& tensors, const QuantisationConfig& config,
    const std::filesystem::path& folder) {
  return ScaledReader(tensors, config, folder).run();
}

}  // namespace mg
