// Matrices that a backend was told of, until they are released: a device uploads them meanwhile.
#pragma once

#include <utility>
#include <vector>

#include "harness/model/weights.h"
#include "kernels/backend.h"

namespace mg {

class Announced {
 public:
  Announced() = default;
  Announced(Backend& backend, std::vector<Weight> matrices)
      : backend_(&backend), matrices_(std::move(matrices)) {
    backend_->prefetch(matrices_);
  }
  /// Every matrix of a layer.
  Announced(Backend& backend, const LayerWeights& layer) : Announced(backend, matrices_of(layer)) {}
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
  static std::vector<Weight> matrices_of(const LayerWeights& layer) {
    std::vector<Weight> matrices;
    for_each_matrix(layer, [&](const TensorView& values) {
      if (!values.empty()) {
        matrices.push_back({values, false});
      }
    });
    return matrices;
  }

  Backend* backend_ = nullptr;
  std::vector<Weight> matrices_;
};

}  // namespace mg
