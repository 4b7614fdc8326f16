#include "harness/io/gguf_model.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "harness/io/gguf_config.h"
#include "harness/io/gguf_names.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

/// Nothing for what config.json says instead; throws for a name that is not known.
std::optional<std::string> checkpoint_name(const GgufFile& file, const GgufTensor& tensor,
                                           const GgufFamily& family) {
  if (tensor.name == "rope_freqs.weight") {
    return std::nullopt;
  }
  if (std::string name = gguf_checkpoint_name(tensor.name, family); !name.empty()) {
    return name;
  }
  throw Error({.code = "gguf.tensor",
               .what = "the file holds a tensor that its architecture does not have here",
               .where = fmt::format("{}: tensor \"{}\"", file.path().string(), tensor.name),
               .expected = "token_embd, output_norm, output, blk.N. and the parts of a layer",
               .actual = tensor.name,
               .hint = "compare the checkpoint's folder instead"});
}

class GgufWeight final : public QuantisedTensor {
 public:
  GgufWeight(const GgufFile& file, const GgufTensor& tensor, std::int64_t head_dim)
      : file_(&file), tensor_(&tensor), head_dim_(head_dim) {}

  void rows(std::int64_t begin, std::int64_t end, float* out) const override {
    if (head_dim_ == 0) {
      file_->rows(*tensor_, begin, end, out);
      return;
    }
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t stored = gguf_interleaved_row(row, head_dim_);
      file_->rows(*tensor_, stored, stored + 1, out + (row - begin) * cols_count);
    }
  }

 private:
  const GgufFile* file_;
  const GgufTensor* tensor_;
  std::int64_t head_dim_;  // 0: rows lie as in the checkpoint
};

std::optional<DType> unquantised_dtype(const GgmlFormat& format) {
  if (format.name == "F32") {
    return DType::kF32;
  }
  if (format.name == "F16") {
    return DType::kF16;
  }
  return format.name == "BF16" ? std::optional(DType::kBF16) : std::nullopt;
}

class ModelReader {
 public:
  ModelReader(const GgufFile& file, const nlohmann::json& config)
      : file_(&file),
        family_(&gguf_family(file.header(), file.path().string())),
        head_dim_(config.at("head_dim").get<std::int64_t>()) {}

  GgufModel read() {
    for (const GgufTensor& tensor : file_->header().tensors) {
      if (std::optional<std::string> name = checkpoint_name(*file_, tensor, *family_)) {
        add(tensor, std::move(*name));
      }
    }
    return std::move(model_);
  }

 private:
  void add(const GgufTensor& tensor, std::string name) {
    const std::int64_t head_dim = gguf_interleaves(name, *family_) ? head_dim_ : 0;
    if (head_dim != 0 && tensor.shape.front() % head_dim != 0) {
      throw Error({.code = "gguf.tensor",
                   .what = "rows are not made of whole heads",
                   .where = fmt::format("{}: tensor \"{}\"", file_->path().string(), tensor.name),
                   .expected = fmt::format("a multiple of {}", head_dim),
                   .actual = fmt::format("{}", tensor.shape.front()),
                   .hint = "convert the checkpoint again with a current llama.cpp"});
    }
    if (tensor.shape.size() < 2) {
      add_vector(tensor, std::move(name), head_dim);
    } else if (const std::optional<DType> dtype = unquantised_dtype(*tensor.format);
               dtype && head_dim == 0) {
      model_.plain.push_back({.name = std::move(name),
                              .view = {.dtype = *dtype,
                                       .shape = tensor.shape,
                                       .data = file_->data(tensor),
                                       .bytes = static_cast<std::size_t>(tensor.bytes)}});
    } else {
      add_codes(tensor, std::move(name), head_dim);
    }
  }

  void add_vector(const GgufTensor& tensor, std::string name, std::int64_t head_dim) {
    std::vector<float> stored(static_cast<std::size_t>(tensor.row_length()));
    file_->rows(tensor, 0, 1, stored.data());
    std::vector<float>& numbers = model_.vectors.emplace_back(stored.size());
    for (std::size_t i = 0; i < stored.size(); ++i) {
      const auto row = static_cast<std::int64_t>(i);
      const std::int64_t at = head_dim == 0 ? row : gguf_interleaved_row(row, head_dim);
      numbers[i] = stored[static_cast<std::size_t>(at)];
      if (family_->norms_plus_one && name.ends_with("norm.weight")) {
        numbers[i] -= 1.0F;
      }
    }
    model_.plain.push_back({.name = std::move(name),
                            .view = {.dtype = DType::kF32,
                                     .shape = tensor.shape,
                                     .data = reinterpret_cast<const std::byte*>(numbers.data()),
                                     .bytes = numbers.size() * sizeof(float)},
                            .shard = kNoShard});
  }

  void add_codes(const GgufTensor& tensor, std::string name, std::int64_t head_dim) {
    auto weight = std::make_unique<GgufWeight>(*file_, tensor, head_dim);
    weight->name = std::move(name);
    weight->format = std::string(tensor.format->name);
    weight->detail = fmt::format("blocks of {}", tensor.format->block);
    weight->rows_count = tensor.rows();
    weight->cols_count = tensor.row_length();
    weight->library_dtype = unquantised_dtype(*tensor.format).value_or(DType::kF32);
    weight->parts.push_back({.name = tensor.name,
                             .view = {.dtype = DType::kU8,
                                      .shape = {static_cast<std::int64_t>(tensor.bytes)},
                                      .data = file_->data(tensor),
                                      .bytes = static_cast<std::size_t>(tensor.bytes)}});
    model_.codes.push_back(std::move(weight));
  }

  const GgufFile* file_;
  const GgufFamily* family_;
  std::int64_t head_dim_;
  GgufModel model_;
};

}  // namespace

GgufModel read_gguf_model(const GgufFile& file, const nlohmann::json& config) {
  return ModelReader(file, config).read();
}

}  // namespace mg
