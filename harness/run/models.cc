#include "harness/run/models.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "harness/io/json_file.h"
#include "kernels/core/dequantise.h"
#include "kernels/core/error.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

/// Ids under a config key: a number, a list of numbers, or null.
std::vector<std::int32_t> ids_at(const nlohmann::json& config, const char* key) {
  std::vector<std::int32_t> ids;
  const auto found = config.find(key);
  if (found == config.end()) {
    return ids;
  }
  const nlohmann::json list = found->is_array() ? *found : nlohmann::json::array({*found});
  for (const nlohmann::json& id : list) {
    if (id.is_number_integer() && id.get<std::int64_t>() >= 0) {
      ids.push_back(id.get<std::int32_t>());
    }
  }
  return ids;
}

}  // namespace

ModelLimits limits_of(const OpenModel& model) {
  const ModelConfig& config = model.model.config;
  ModelLimits limits;
  limits.vocab_size = config.vocab_size;
  limits.max_tokens = config.max_position_embeddings;
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id", "image_token_id",
                          "video_token_id", "vision_start_token_id", "vision_end_token_id"}) {
    for (const std::int32_t id : ids_at(model.checkpoint.config(), key)) {
      if (id < config.vocab_size) {
        limits.special_ids.push_back(id);
      }
    }
  }
  const std::vector<std::int32_t> bos = ids_at(model.checkpoint.config(), "bos_token_id");
  if (!bos.empty() && bos.front() < config.vocab_size) {
    limits.bos = bos.front();
  }
  return limits;
}

std::vector<Finding> block_order_findings(const OpenModel& model, const std::string& role) {
  std::vector<std::string> names;
  for (const auto& tensor : model.checkpoint.quantised()) {
    if (tensor->ambiguous_blocks) {
      names.push_back(tensor->name);
    }
  }
  if (names.empty()) {
    return {};
  }
  const QuantisedTensor& first = *model.checkpoint.find(names.front())->quantised;
  const bool by_row = first.four_bit() != nullptr && first.four_bit()->blocks_by_row;
  Finding f;
  f.rule = "model.block-order";
  f.severity = Severity::kWarning;
  f.command = "compare";
  f.subject = role + ": " + names.front();
  f.message = fmt::format(
      "rows of {} {} ({} of {}) end inside a block of scales: bitsandbytes' AVX-512 CPU code reads "
      "such weights otherwise than its CUDA code does, and this run reads them as the {} does",
      names.size(), names.size() == 1 ? "weight" : "weights", first.cols_count, first.detail,
      by_row ? "former" : "latter");
  f.expected = "rows of whole blocks";
  f.actual = to_string(first.shape());
  f.fix = Fix{false, "for an adapter that was trained on a GPU: --block-order flat"};
  return {std::move(f)};
}

std::vector<std::int32_t> stop_ids_of(const OpenModel& model) {
  std::vector<std::int32_t> ids = ids_at(model.checkpoint.config(), "eos_token_id");
  const std::filesystem::path file = model.checkpoint.folder() / "generation_config.json";
  if (std::filesystem::exists(file)) {
    const std::vector<std::int32_t> more = ids_at(read_json(file), "eos_token_id");
    ids.insert(ids.end(), more.begin(), more.end());
  }
  return ids;
}

void require_plain_weights(const OpenModel& model) {
  for (const ResolvedTensor& tensor : model.model.tensors) {
    if (tensor.quantised) {
      throw Error(
          {.code = "model.quantised",
           .what = "quantised weights of this form are not supported yet",
           .where = model.checkpoint.folder().string() + ", " + tensor.stored->name,
           .expected = "F16, BF16 or F32 weights, or codes that quantization_config describes",
           .actual = std::string(dtype_name(tensor.stored->view.dtype)) + " codes (" +
                     model.model.config.quant_method + ")",
           .hint = "give the 16-bit checkpoint that this one was quantised from"});
    }
  }
}

}  // namespace mg
