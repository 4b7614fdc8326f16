// Where a lane's weights come from: a checkpoint, a checkpoint with an adapter beside it, or
// matrices computed a layer at a time (the re-merge).  One layer is in use at once; the next may be
// read ahead.
#pragma once

#include <cstdint>

#include "harness/model/config.h"
#include "harness/model/weights.h"

namespace mg {

class WeightSource {
 public:
  virtual ~WeightSource() = default;

  virtual const ModelConfig& config() const = 0;
  /// Valid for the life of the source.
  virtual const GlobalWeights& globals() = 0;
  /// Blocks of a vision tower follow the text's layers: block v is num_hidden_layers + v.
  /// Valid until release_layer(index).  Throws Error "file.*" if a file went away.
  virtual const LayerWeights& layer(std::int64_t index) = 0;
  /// Starts reading a layer that will be asked for soon.
  virtual void prefetch_layer(std::int64_t index) = 0;
  virtual void release_layer(std::int64_t index) = 0;
  /// A layer's matrices before it is in use, where their bytes lie still already (a mapped file);
  /// null elsewhere. Valid for the life of the source.  For a device's uploads.
  virtual const LayerWeights* ahead(std::int64_t index) const {
    static_cast<void>(index);
    return nullptr;
  }
  /// The two for a backend that takes codes (Backend::takes_codes): a matrix that codes_of() knows
  /// has no bytes then, unless somebody asked for layer() too.
  virtual const LayerWeights& layer_in_codes(std::int64_t index) { return layer(index); }
  virtual const LayerWeights* ahead_in_codes(std::int64_t index) const { return ahead(index); }
  /// What a matrix of a layer is decoded from; empty where its bytes are what is stored.
  virtual WeightCodes codes_of(const TensorView& matrix) const {
    static_cast<void>(matrix);
    return {};
  }
  /// Whether a view lies in the FP32 copy of a weight that is stored as codes.
  virtual bool is_decoded_copy(const TensorView& view) const {
    static_cast<void>(view);
    return false;
  }
  /// Throws Error "file.shrank" if results may rest on bytes that are gone.
  virtual void check_intact() const = 0;
};

}  // namespace mg
