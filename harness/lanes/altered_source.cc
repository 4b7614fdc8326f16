#include "harness/lanes/altered_source.h"

namespace mg {

AlteredSource::AlteredSource(const Checkpoint& checkpoint, const ResolvedModel& model,
                             const AlteredTensors& alteration, ThreadPool& pool)
    : plain_(checkpoint, model, nullptr, &pool),
      alteration_(&alteration),
      pool_(&pool),
      globals_(plain_.globals()) {
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    if (tensor.view.bytes > 0 && alteration.alters(tensor)) {
      altered_.emplace(tensor.view.data, &tensor);
    }
  }
  alter(globals_, global_storage_);
}

/// The altered tensor that `view` is, or is a part of (one expert of a packed tensor).
const StoredTensor* AlteredSource::altered_at(const TensorView& view) const {
  auto after = altered_.upper_bound(view.data);
  if (view.empty() || after == altered_.begin()) {
    return nullptr;
  }
  const StoredTensor* tensor = std::prev(after)->second;
  return view.data < tensor->view.data + tensor->view.bytes ? tensor : nullptr;
}

template <typename Weights>
void AlteredSource::alter(Weights& weights, Storage& storage) const {
  for_each_stored(weights, [&](TensorView& view) {
    if (const StoredTensor* tensor = altered_at(view)) {
      storage[tensor];
    }
  });
  std::vector<Storage::iterator> wanted;
  for (auto at = storage.begin(); at != storage.end(); ++at) {
    wanted.push_back(at);
  }
  pool_->for_chunks(static_cast<std::int64_t>(wanted.size()), 1,
                    [&](std::int64_t begin, std::int64_t) {
                      auto& [tensor, bytes] = *wanted[static_cast<std::size_t>(begin)];
                      bytes = alteration_->read(*tensor);
                    });
  for_each_stored(weights, [&](TensorView& view) {
    if (const StoredTensor* tensor = altered_at(view)) {
      view.data = storage.at(tensor).data() + (view.data - tensor->view.data);
    }
  });
}

const LayerWeights& AlteredSource::layer(std::int64_t index) {
  layer_ = plain_.layer(index);
  storage_.clear();
  alter(layer_, storage_);
  return layer_;
}

void AlteredSource::release_layer(std::int64_t index) {
  storage_.clear();
  plain_.release_layer(index);
}

}  // namespace mg
