// Matrices that a backend was told of, until they are released: a device uploads them meanwhile.
#pragma once

#include <utility>
#include <vector>

#include "harness/lanes/weight_source.h"
#include "kernels/backend.h"

namespace mg {

class Announced {
 public:
  Announced() = default;
  Announced(Backend& backend, std::vector<Weight> matrices)
      : backend_(&backend), matrices_(std::move(matrices)) {
    backend_->prefetch(matrices_);
  }
  /// Every matrix of a layer of `source`, as codes where the backend takes them.
  Announced(Backend& backend, const WeightSource& source, const LayerWeights& layer)
      : Announced(backend, matrices_of(backend, source, layer)) {}
  Announced(Announced&& other) noexcept
      : backend_(std::exchange(other.backend_, nullptr)), matrices_(std::move(other.matrices_)) {}
  Announced& operator=(Announced&& other) noexcept {
    std::swap(backend_, other.backend_);
    std::swap(matrices_, other.matrices_);
    return *this;
  }
  ~Announced() {
    if (backend_ != nullptr) {
      backend_->release(matrices_);
    }
  }
  bool empty() const { return backend_ == nullptr; }

 private:
  static std::vector<Weight> matrices_of(const Backend& backend, const WeightSource& source,
                                         const LayerWeights& layer) {
    std::vector<Weight> matrices;
    for_each_matrix(layer, [&](const TensorView& values) {
      if (!values.empty()) {
        matrices.push_back(
            {values, false, backend.takes_codes() ? source.codes_of(values) : WeightCodes{}});
      }
    });
    return matrices;
  }

  Backend* backend_ = nullptr;
  std::vector<Weight> matrices_;
};

/// A layer of a lane as the lane's backend wants it; Announced() tells the backend of it.
inline const LayerWeights& layer_for(const Backend& backend, WeightSource& source,
                                     std::int64_t index) {
  return backend.takes_codes() ? source.layer_in_codes(index) : source.layer(index);
}
inline const LayerWeights* ahead_for(const Backend& backend, const WeightSource& source,
                                     std::int64_t index) {
  return backend.takes_codes() ? source.ahead_in_codes(index) : source.ahead(index);
}

}  // namespace mg
