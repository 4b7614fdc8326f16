#include "harness/io/quantised_tensor.h"

#include "harness/io/bitsandbytes.h"

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

std::vector<std::unique_ptr<QuantisedTensor>> read_quantised(std::vector<StoredTensor>& tensors,
                                                             BlockOrder order,
                                                             const std::filesystem::path& folder) {
  return read_bitsandbytes(tensors, order, folder);
}

}  // namespace mg
