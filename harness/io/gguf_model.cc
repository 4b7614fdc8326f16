// Names: gguf 0.19, tensor_mapping.py, read for behaviour.
#include "harness/io/gguf_model.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "harness/io/gguf_config.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

using Names = std::pair<std::string_view, std::string_view>;

constexpr auto kGlobals = std::to_array<Names>({
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
});

constexpr auto kModules = std::to_array<Names>({
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_qkv", "self_attn.qkv_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"attn_output", "self_attn.o_proj"},
    {"post_attention_norm", "post_attention_layernorm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
});

std::string_view module_of(std::string_view part, const GgufFamily& family) {
  if (part == "ffn_norm" && family.four_norms) {
    return "pre_feedforward_layernorm";
  }
  if (part == "ffn_up" && family.packed_mlp) {
    return "mlp.gate_up_proj";
  }
  for (const auto& [ours, theirs] : kModules) {
    if (part == ours) {
      return theirs;
    }
  }
  return {};
}

/// Nothing for what config.json says instead; throws for a name that is not known.
std::optional<std::string> checkpoint_name(const GgufFile& file, const GgufTensor& tensor,
                                           const GgufFamily& family) {
  const std::string_view name = tensor.name;
  if (name == "rope_freqs.weight") {
    return std::nullopt;
  }
  for (const auto& [ours, theirs] : kGlobals) {
    if (name == ours) {
      return std::string(theirs);
    }
  }
  constexpr std::string_view kBlock = "blk.";
  const std::size_t dot = name.find('.', kBlock.size());
  const std::size_t last = name.rfind('.');
  if (name.starts_with(kBlock) && dot != std::string_view::npos && last > dot) {
    const std::string_view number = name.substr(kBlock.size(), dot - kBlock.size());
    const std::string_view module = module_of(name.substr(dot + 1, last - dot - 1), family);
    const bool digits = number.find_first_not_of("0123456789") == std::string_view::npos;
    const std::string_view kind = name.substr(last);
    if (!number.empty() && digits && !module.empty() && (kind == ".weight" || kind == ".bias")) {
      return fmt::format("model.layers.{}.{}{}", number, module, kind);
    }
  }
  throw Error({.code = "gguf.tensor",
               .what = "the file holds a tensor that its architecture does not have here",
               .where = fmt::format("{}: tensor \"{}\"", file.path().string(), name),
               .expected = "token_embd, output_norm, output, blk.N. and the parts of a layer",
               .actual = std::string(name),
               .hint = "compare the checkpoint's folder instead"});
}

/// Row of the file that holds row `row` of the checkpoint: of each head, the file has the rows of
/// the two halves by turns (conversion/llama.py, LlamaModel.permute).
std::int64_t interleaved(std::int64_t row, std::int64_t head_dim) {
  const std::int64_t head = row / head_dim;
  const std::int64_t inside = row % head_dim;
  const std::int64_t half = head_dim / 2;
  return head * head_dim + 2 * (inside % half) + inside / half;
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
      const std::int64_t stored = interleaved(row, head_dim_);
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
        family_(&gguf_family(file)),
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
    const bool interleaved_rows =
        family_->interleaved_rope &&
        (name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight") ||
         name.ends_with("q_proj.bias") || name.ends_with("k_proj.bias"));
    const std::int64_t head_dim = interleaved_rows ? head_dim_ : 0;
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
      const std::int64_t at = head_dim == 0 ? row : interleaved(row, head_dim);
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
