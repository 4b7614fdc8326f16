// bitsandbytes' weights as Hugging Face stores them.  Four bits (NF4, FP4): W [n, 1] packed codes
// with W.absmax, W.quant_map, W.quant_state.bitsandbytes__nf4 (JSON in bytes) and, where the scales
// are themselves quantised, W.nested_absmax and W.nested_quant_map.  Eight (LLM.int8): X.weight I8
// with X.SCB and X.weight_format.  Source: bitsandbytes 0.50, functional.QuantState.as_dict and
// from_dict, nn.modules.Linear8bitLt, utils.LINEAR_8BIT_WEIGHTS_FORMAT_MAPPING; transformers 5,
// integrations/bitsandbytes.  Private to harness/io.  Tested in tests/io/quantised_test.cc and
// tests/fuzz/quant_state_fuzz.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "harness/io/quantised_tensor.h"

namespace mg {

/// Scales that are quantised themselves.
struct NestedScales {
  std::int64_t block = 0;
  float offset = 0;
};

/// The JSON of a quant_state.
struct QuantState {
  std::string type;  // "nf4" or "fp4"
  std::int64_t block = 0;
  DType dtype = DType::kF32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::optional<NestedScales> nested;
};

/// Throws Error "quantised.state" (or "json.*") naming `where` and the key.
QuantState parse_quant_state(std::string_view json, const std::string& where);

/// See read_quantised().
std::vector<std::unique_ptr<QuantisedTensor>> read_bitsandbytes(
    std::vector<StoredTensor>& tensors, BlockOrder order, const std::filesystem::path& folder);

}  // namespace mg
