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
  /// Throws Error "file.shrank" if results may rest on bytes that are gone.
  virtual void check_intact() const = 0;
};

}  // namespace mg
