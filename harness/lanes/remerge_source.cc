#include "harness/lanes/remerge_source.h"

#include <algorithm>
#include <utility>

#include "kernels/core/convert.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

constexpr std::int64_t kElementsPerTask = 1 << 16;

AttachedAdapter replacements_of(const AttachedAdapter& adapter) {
  AttachedAdapter result = adapter;
  result.deltas.clear();
  return result;
}

std::size_t bytes_of(DType dtype, std::int64_t elements) {
  return static_cast<std::size_t>(elements * dtype_bits(dtype) / 8);
}

}  // namespace

RemergeSource::RemergeSource(const Checkpoint& base, const ResolvedModel& model,
                             const AttachedAdapter& adapter, std::optional<DType> dtype,
                             ThreadPool& pool)
    : without_deltas_(replacements_of(adapter)),
      plain_(base, model, &without_deltas_, &pool),
      adapter_(&adapter),
      dtype_(dtype),
      pool_(&pool),
      globals_(plain_.globals()) {
  for_each_stored(globals_, [this](TensorView& view) { rewrite(view, global_storage_); });
}

const LayerWeights& RemergeSource::layer(std::int64_t index) {
  layer_ = plain_.layer(index);
  storage_.clear();
  for_each_stored(layer_, [this](TensorView& view) { rewrite(view, storage_); });
  return layer_;
}

void RemergeSource::release_layer(std::int64_t index) {
  storage_.clear();
  plain_.release_layer(index);
}

void RemergeSource::rewrite(TensorView& view, Storage& storage) const {
  if (view.empty()) {
    return;
  }
  // A tied table that is both adapted as an embedding and as a head carries both deltas: it is one
  // tensor.
  std::vector<DeltaRows> deltas;
  for (const AttachedDelta& attached : adapter_->deltas) {
    if (attached.target->view.data == view.data) {
      deltas.emplace_back(attached);
    }
    if (attached.target_bias != nullptr && attached.target_bias->view.data == view.data) {
      deltas.push_back(DeltaRows::for_bias(attached));
    }
  }
  const DType stored = dtype_.value_or(view.dtype);
  if (deltas.empty() && stored == view.dtype) {
    return;
  }
  const std::int64_t cols = view.shape.size() > 1 ? view.elements() / view.dim(0) : 1;
  const std::int64_t rows = view.elements() / cols;
  storage.emplace_back(bytes_of(stored, view.elements()));
  std::byte* out = storage.back().data();
  const TensorView source = view;
  const std::int64_t grain = std::max<std::int64_t>(1, kElementsPerTask / cols);
  pool_->for_chunks(rows, grain, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t elements = (end - begin) * cols;
    std::vector<double> values(static_cast<std::size_t>(elements));
    std::vector<double> delta(values.size());
    widen_to_double(source.dtype, source.data + bytes_of(source.dtype, begin * cols), elements,
                    values.data());
    for (const DeltaRows& rows_of_delta : deltas) {
      rows_of_delta.compute(begin, end, delta.data());
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] += delta[i];
      }
    }
    narrow_from_double(stored, values.data(), elements, out + bytes_of(stored, begin * cols));
  });
  view = {.dtype = stored, .shape = source.shape, .data = out, .bytes = storage.back().size()};
}

}  // namespace mg
