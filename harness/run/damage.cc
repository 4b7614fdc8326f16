#include "harness/run/damage.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

#include "harness/io/safetensors_writer.h"
#include "harness/model/delta.h"
#include "kernels/core/convert.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

constexpr std::int64_t kBlockElements = 1 << 16;

/// What the adapter adds to a stored tensor of the base: its pair, or the pairs of packed experts,
/// or a bias.
std::vector<DeltaRows> deltas_on(const AttachedAdapter& adapter, const StoredTensor& base) {
  std::vector<DeltaRows> deltas;
  for (const AttachedDelta& attached : adapter.deltas) {
    if (attached.target == &base && !attached.tied_head) {
      deltas.emplace_back(attached);
    }
    if (attached.target_bias == &base) {
      deltas.push_back(DeltaRows::for_bias(attached));
    }
  }
  return deltas;
}

/// The base's tensors to which a right merge adds something.
std::set<const StoredTensor*> adapted_tensors(const AttachedAdapter& adapter) {
  std::set<const StoredTensor*> tensors;
  for (const AttachedDelta& attached : adapter.deltas) {
    if (!attached.tied_head) {
      tensors.insert(attached.target);
    }
    tensors.insert(attached.target_bias);
  }
  tensors.erase(nullptr);
  return tensors;
}

double factor_of(Damage damage) {
  return damage == Damage::kTwice ? 2.0 : damage == Damage::kScale2 ? 1.02 : 1.0;
}

std::size_t bytes_of(DType dtype, std::int64_t elements) {
  return static_cast<std::size_t>(elements * dtype_bits(dtype) / 8);
}

void add_transposed(const DeltaRows& rows, std::vector<double>& values) {
  const std::int64_t n = rows.rows();
  std::vector<double> delta(values.size());
  rows.compute(0, n, delta.data());
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      values[static_cast<std::size_t>(i * n + j)] += delta[static_cast<std::size_t>(j * n + i)];
    }
  }
}

/// base + delta of the whole tensor as the damaged merge stores it.
std::vector<std::byte> merged_bytes(const OpenAdapter& adapter, const StoredTensor& base,
                                    DType stored, Damage damage) {
  const TensorView& view = base.view;
  std::vector<std::byte> bytes(bytes_of(stored, view.elements()));
  const std::vector<DeltaRows> deltas = deltas_on(adapter.attached, base);
  const bool transpose = damage == Damage::kTranspose && deltas.size() == 1 &&
                         deltas.front().rows() == deltas.front().cols();
  const std::int64_t cols = deltas.empty() ? 1 : deltas.front().cols();
  const std::int64_t rows = view.elements() / cols;
  const std::int64_t step = transpose ? rows : std::max<std::int64_t>(1, kBlockElements / cols);
  std::vector<double> values;
  std::vector<double> delta;
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const std::int64_t end = std::min(rows, begin + step);
    const std::int64_t elements = (end - begin) * cols;
    values.resize(static_cast<std::size_t>(elements));
    widen_to_double(view.dtype, view.data + bytes_of(view.dtype, begin * cols), elements,
                    values.data());
    if (transpose) {
      add_transposed(deltas.front(), values);
    } else {
      for (const DeltaRows& part : deltas) {
        delta.resize(values.size());
        part.compute(begin, end, delta.data(), factor_of(damage));
        for (std::size_t i = 0; i < values.size(); ++i) {
          values[i] += delta[i];
        }
      }
    }
    if (damage == Damage::kBf16) {
      std::vector<std::byte> coarse(values.size() * 2);
      narrow_from_double(DType::kBF16, values.data(), elements, coarse.data());
      widen_to_double(DType::kBF16, coarse.data(), elements, values.data());
    }
    narrow_from_double(stored, values.data(), elements,
                       bytes.data() + bytes_of(stored, begin * cols));
  }
  return bytes;
}

/// The base's values in merged's dtype.
std::vector<std::byte> base_bytes(const StoredTensor& base, DType stored) {
  if (base.view.dtype == stored) {
    return {base.view.data, base.view.data + base.view.bytes};
  }
  std::vector<double> values(static_cast<std::size_t>(base.view.elements()));
  widen_to_double(base.view.dtype, base.view.data, base.view.elements(), values.data());
  std::vector<std::byte> bytes(bytes_of(stored, base.view.elements()));
  narrow_from_double(stored, values.data(), base.view.elements(), bytes.data());
  return bytes;
}

/// The base's tensor that stands where merged's does, by name, else by its role.
const StoredTensor* counterpart(const OpenModel& base, const OpenModel& merged,
                                const StoredTensor& tensor) {
  if (const StoredTensor* found = base.checkpoint.find(tensor.name)) {
    return found;
  }
  for (const ResolvedTensor& resolved : merged.model.tensors) {
    if (resolved.stored == &tensor) {
      const ResolvedTensor* found =
          base.model.find(resolved.rule->role, resolved.layer, resolved.expert);
      return found == nullptr ? nullptr : found->stored;
    }
  }
  return nullptr;
}

/// The middle one of the layers that the adapter changes: its tensors.
std::set<const StoredTensor*> middle_layer(const OpenModel& base,
                                           const std::set<const StoredTensor*>& adapted) {
  std::set<std::int64_t> layers;
  for (const ResolvedTensor& resolved : base.model.tensors) {
    if (resolved.layer >= 0 && adapted.count(resolved.stored) > 0) {
      layers.insert(resolved.layer);
    }
  }
  std::set<const StoredTensor*> tensors;
  if (!layers.empty()) {
    const auto half = static_cast<std::ptrdiff_t>(layers.size() / 2);
    const std::int64_t middle = *std::next(layers.begin(), half);
    for (const ResolvedTensor& resolved : base.model.tensors) {
      if (resolved.layer == middle) {
        tensors.insert(resolved.stored);
      }
    }
  }
  return tensors;
}

/// The tensor as the damaged merge holds it; `own` is what the right one holds.
std::vector<std::byte> damaged_bytes(const OpenAdapter& adapter, const StoredTensor& base,
                                     const TensorView& own, Damage damage) {
  if (damage == Damage::kBase || damage == Damage::kDropLayer) {
    return base_bytes(base, own.dtype);
  }
  if (damage != Damage::kNan && damage != Damage::kBit) {
    return merged_bytes(adapter, base, own.dtype, damage);
  }
  std::vector<std::byte> bytes(own.data, own.data + own.bytes);
  std::byte* middle = bytes.data() + bytes_of(own.dtype, own.elements() / 2);
  if (damage == Damage::kBit) {
    *middle ^= std::byte{1};
  } else {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    narrow_from_double(own.dtype, &nan, 1, middle);
  }
  return bytes;
}

}  // namespace

const std::vector<DamageName>& damages() {
  static const std::vector<DamageName> kAll{
      {"drop-layer",
       Damage::kDropLayer,
       "one layer was left at the base",
       false,
       {"audit.partly-merged", "weights.targets"},
       true},
      {"twice",
       Damage::kTwice,
       "the adapter was merged twice",
       false,
       {"audit.scale", "weights.targets"},
       true},
      {"transpose",
       Damage::kTranspose,
       "the delta of square matrices was transposed",
       false,
       {"audit.transposed", "weights.targets"},
       true},
      {"bf16",
       Damage::kBf16,
       "the merge went through BF16 on its way to its stored dtype",
       false,
       {"audit.detour"},
       false},
      {"base",
       Damage::kBase,
       "nothing was merged",
       false,
       {"audit.not-merged", "weights.targets"},
       true},
      {"scale",
       Damage::kScale2,
       "2 % too much of the delta was added",
       false,
       {"audit.scale", "weights.targets"},
       true},
      {"one-nan",
       Damage::kNan,
       "one element of an adapted tensor is NaN",
       false,
       {"audit.non-finite", "guard.finite"},
       true},
      {"one-bit",
       Damage::kBit,
       "one bit of a tensor that the adapter does not touch flipped",
       false,
       {"audit.corrupted", "weights.untouched"},
       true},
      {"stale-tokenizer",
       Damage::kStaleTokenizer,
       "the tokenizer is of another revision: its ids are one off",
       true,
       {"tokenizer.other"},
       true},
      {"leftover-config",
       Damage::kLeftoverConfig,
       "the quantization_config of the base's 4-bit loading was left in config.json",
       true,
       {"config.leftover-quantization"},
       true},
      {"rope-theta",
       Damage::kRopeTheta,
       "config.json has another revision's rope_theta",
       true,
       {"config.rope-theta"},
       true}};
  return kAll;
}

const DamageName& damage_from_name(std::string_view name) {
  std::string known;
  for (const DamageName& entry : damages()) {
    if (entry.name == name) {
      return entry;
    }
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw Error({.code = "demo.unknown-damage",
               .what = "there is no such way to break the demo",
               .where = "--break",
               .expected = known,
               .actual = std::string(name),
               .hint = {}},
              ErrorKind::kUsage);
}

DamagedTensors::DamagedTensors(const OpenModel& base, const OpenAdapter& adapter,
                               const OpenModel& merged, Damage damage)
    : base_(base), merged_(merged), adapter_(adapter), damage_(damage) {
  const std::set<const StoredTensor*> adapted = adapted_tensors(adapter.attached);
  const std::set<const StoredTensor*> middle = middle_layer(base, adapted);
  std::pair<const StoredTensor*, const StoredTensor*> smallest{};  // that stays the base's
  for (const StoredTensor& tensor : merged.checkpoint.tensors()) {
    const StoredTensor* beside = counterpart(base, merged, tensor);
    if (beside == nullptr || beside->view.shape != tensor.view.shape ||
        tensor.view.elements() == 0 || !is_plain(tensor.view.dtype) ||
        !is_plain(beside->view.dtype)) {
      continue;
    }
    const bool target = adapted.count(beside) > 0;
    const bool trained = target || adapter.attached.replacement_for(*beside) != nullptr;
    if (is_damaged(tensor.view, target, trained, middle.count(beside) > 0)) {
      bases_.emplace(&tensor, beside);
    }
    if (!trained && (smallest.first == nullptr || tensor.view.bytes < smallest.first->view.bytes)) {
      smallest = {&tensor, beside};
    }
  }
  if (damage == Damage::kBit && smallest.first != nullptr) {
    bases_.insert(smallest);
  }
  if (bases_.empty()) {
    not_planted_ = damage == Damage::kBf16        ? "merged is stored as BF16 already"
                   : damage == Damage::kTranspose ? "the adapter has no square matrix"
                   : damage == Damage::kBit       ? "the adapter trains every tensor"
                                                  : "the adapter has no low-rank pair in a layer";
  }
}

bool DamagedTensors::is_damaged(const TensorView& merged, bool target, bool trained,
                                bool in_middle) const {
  switch (damage_) {
    case Damage::kTwice:
    case Damage::kScale2:
      return target;
    case Damage::kBase:
      return trained;
    case Damage::kDropLayer:
      return trained && in_middle;
    case Damage::kTranspose:
      return target && merged.shape.size() == 2 && merged.dim(0) == merged.dim(1);
    case Damage::kBf16:
      return target && merged.dtype != DType::kBF16;
    case Damage::kNan:
      return target && in_middle && bases_.empty();
    default:
      return false;
  }
}

std::vector<std::byte> DamagedTensors::read(const StoredTensor& tensor) const {
  const std::array<DecodedHold, 2> holds = {base_.checkpoint.decode(*bases_.at(&tensor)),
                                            merged_.checkpoint.decode(tensor)};
  return damaged_bytes(adapter_, *bases_.at(&tensor), tensor.view, damage_);
}

void write_damaged_merge(const OpenModel& base, const OpenAdapter& adapter, Damage damage,
                         const std::filesystem::path& out, ThreadPool& pool) {
  std::filesystem::create_directories(out);
  for (const auto& entry : std::filesystem::directory_iterator(base.checkpoint.folder())) {
    if (entry.path().extension() == ".json") {
      std::filesystem::copy_file(entry.path(), out / entry.path().filename(),
                                 std::filesystem::copy_options::overwrite_existing);
    }
  }
  std::filesystem::remove(out / "model.safetensors.index.json");
  const std::vector<StoredTensor>& tensors = base.checkpoint.tensors();
  std::vector<TensorPlan> plan;
  for (const StoredTensor& tensor : tensors) {
    plan.push_back({tensor.name, tensor.view.dtype, tensor.view.shape});
  }
  // The base stands in for merged: what the damage leaves alone is the right merge of its tensor.
  const DamagedTensors damaged(base, adapter, base, damage);
  SafetensorsWriter writer(out / "model.safetensors", plan);
  std::vector<std::vector<std::byte>> bytes(tensors.size());
  pool.for_chunks(static_cast<std::int64_t>(tensors.size()), 1,
                  [&](std::int64_t begin, std::int64_t) {
                    const auto i = static_cast<std::size_t>(begin);
                    const StoredTensor& tensor = tensors[i];
                    bytes[i] = merged_bytes(adapter, tensor, tensor.view.dtype, Damage::kNone);
                    if (damaged.alters(tensor)) {
                      TensorView right = tensor.view;
                      right.data = bytes[i].data();
                      bytes[i] = damaged_bytes(adapter, tensor, right, damage);
                    }
                  });
  for (const std::vector<std::byte>& piece : bytes) {
    writer.write(piece);
  }
  writer.finish();
}

}  // namespace mg
