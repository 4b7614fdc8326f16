#include "harness/run/models.h"

#include <nlohmann/json.hpp>

#include "kernels/core/error.h"

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

void require_plain_weights(const OpenModel& model) {
  for (const ResolvedTensor& tensor : model.model.tensors) {
    if (tensor.quantised) {
      throw Error({.code = "model.quantised",
                   .what = "quantised weights are not supported yet",
                   .where = model.checkpoint.folder().string() + ", " + tensor.stored->name,
                   .expected = "F16, BF16 or F32 weights",
                   .actual = std::string(dtype_name(tensor.stored->view.dtype)) + " codes (" +
                             model.model.config.quant_method + ")",
                   .hint = "give the 16-bit checkpoint that this one was quantised from"});
    }
  }
}

}  // namespace mg
