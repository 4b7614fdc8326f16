// What Gemma 2 and Gemma 3 share beyond the common keys.
#include <cmath>

#include "harness/model/arch/archs.h"

namespace mg {

void read_gemma(ConfigReader& text, ModelConfig& config) {
  config.norm = NormKind::kRmsPlusOne;
  config.post_norms = true;
  config.attention_bias = text.boolean_or("attention_bias", false);
  config.output_bias = config.attention_bias;
  const double scalar = text.positive_or("query_pre_attn_scalar", 256.0);
  config.attention_scale = 1.0 / std::sqrt(scalar);
  config.embedding_scale =
      embedding_scale_for(config.hidden_size, config.dtype == "bfloat16"  ? DType::kBF16
                                              : config.dtype == "float16" ? DType::kF16
                                                                          : DType::kF32);
  require_false(text, "use_bidirectional_attention", "only causal attention is computed");
}

double read_softcap(ConfigReader& text, std::string_view key, double absent) {
  if (!text.contains(key)) {
    text.consume(key);
    return absent;
  }
  return text.has_value(key) ? text.positive_or(key, 0.0) : (text.consume(key), 0.0);  // null: none
}

}  // namespace mg
