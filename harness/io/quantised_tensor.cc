#include "harness/io/quantised_tensor.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "harness/io/bitsandbytes.h"
#include "harness/io/quantisation_config.h"
#include "harness/io/scaled_weights.h"

namespace mg {

DType StoredTensor::used_dtype() const {
  return quantised == nullptr ? view.dtype : quantised->library_dtype;
}

std::size_t QuantisedTensor::stored_bytes() const {
  std::size_t bytes = 0;
  for (const StoredTensor& part : parts) {
    bytes += part.view.bytes;
  }
  return bytes;
}

namespace {

/// Integers or narrow floats in the place of a matrix.
bool is_codes(const StoredTensor& tensor) {
  switch (tensor.view.dtype) {
    case DType::kI8:
    case DType::kU8:
    case DType::kI32:
    case DType::kU32:
    case DType::kF4:
    case DType::kF6E2M3:
    case DType::kF6E3M2:
    case DType::kF8E4M3:
    case DType::kF8E5M2:
    case DType::kF8E4M3Fnuz:
    case DType::kF8E5M2Fnuz:
      return tensor.view.shape.size() >= 2;
    default:
      return false;
  }
}

}  // namespace

std::vector<std::unique_ptr<QuantisedTensor>> read_quantised(std::vector<StoredTensor>& tensors,
                                                             const nlohmann::json& config,
                                                             BlockOrder order,
                                                             const std::filesystem::path& folder) {
  std::vector<std::unique_ptr<QuantisedTensor>> found = read_bitsandbytes(tensors, order, folder);
  const nlohmann::json* quantization = find_quantization_config(config);
  // A config that was left behind beside plain weights is lint's to judge (F01).
  if (quantization == nullptr || is_bitsandbytes(*quantization) ||
      std::none_of(tensors.begin(), tensors.end(), is_codes)) {
    return found;
  }
  const std::string where = (folder / "config.json").string() + ": quantization_config";
  for (auto& tensor :
       read_scaled_weights(tensors, parse_quantisation_config(*quantization, where), folder)) {
    found.push_back(std::move(tensor));
  }
  return found;
}

}  // namespace mg
