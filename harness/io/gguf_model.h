// The tensors of a GGUF file under the names, shapes and row order of the Hugging Face checkpoint
// that it was converted from.  Private to harness/io; Checkpoint::open gives them out.  Tested in
// tests/io/gguf_model_test.cc.
#pragma once

#include <deque>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "harness/io/gguf.h"
#include "harness/io/quantised_tensor.h"

namespace mg {

struct GgufModel {
  std::vector<StoredTensor> plain;  // F32, F16 and BF16 as stored, and vectors in `vectors`
  std::vector<std::unique_ptr<QuantisedTensor>> codes;  // all that must be decoded or reordered
  std::deque<std::vector<float>> vectors;
};

/// `config` is gguf_config(file).  Throws Error "gguf.tensor" for a name that is not known.  `file`
/// must outlive the result.
GgufModel read_gguf_model(const GgufFile& file, const nlohmann::json& config);

}  // namespace mg
