#include "harness/run/damage.h"

#include <algorithm>
#include <string>

#include "harness/io/safetensors_writer.h"
#include "harness/model/delta.h"
#include "kernels/core/convert.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

/// D of the whole tensor, as the damage has it; empty where nothing is added.
std::vector<double> damaged_delta(const AttachedDelta& attached, Damage damage) {
  const DeltaRows rows(attached);
  std::vector<double> delta(static_cast<std::size_t>(rows.rows() * rows.cols()));
  double factor = 1.0;
  if (damage == Damage::kTwice) {
    factor = 2.0;
  } else if (damage == Damage::kScale2) {
    factor = 1.02;
  }
  rows.compute(0, rows.rows(), delta.data(), factor);
  if (damage == Damage::kTranspose && rows.rows() == rows.cols()) {
    const std::int64_t n = rows.rows();
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = i + 1; j < n; ++j) {
        std::swap(delta[static_cast<std::size_t>(i * n + j)],
                  delta[static_cast<std::size_t>(j * n + i)]);
      }
    }
  }
  return delta;
}

bool is_merged_here(const ResolvedModel& model, const StoredTensor& tensor, Damage damage) {
  if (damage == Damage::kBase) {
    return false;
  }
  if (damage != Damage::kDropLayer) {
    return true;
  }
  const std::int64_t dropped = model.config.num_hidden_layers / 2;
  return std::none_of(model.tensors.begin(), model.tensors.end(), [&](const ResolvedTensor& t) {
    return t.stored == &tensor && t.layer == dropped;
  });
}

std::vector<std::byte> merged_bytes(const OpenModel& base, const OpenAdapter& adapter,
                                    const StoredTensor& tensor, Damage damage) {
  const TensorView& view = tensor.view;
  const AttachedDelta* attached = adapter.attached.delta_for(tensor);
  if (attached == nullptr || !is_merged_here(base.model, tensor, damage)) {
    return {view.data, view.data + view.bytes};
  }
  std::vector<double> values(static_cast<std::size_t>(view.elements()));
  widen_to_double(view.dtype, view.data, view.elements(), values.data());
  const std::vector<double> delta = damaged_delta(*attached, damage);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] += delta[i];
  }
  if (damage == Damage::kBf16) {
    std::vector<std::byte> coarse(values.size() * 2);
    narrow_from_double(DType::kBF16, values.data(), view.elements(), coarse.data());
    widen_to_double(DType::kBF16, coarse.data(), view.elements(), values.data());
  }
  std::vector<std::byte> bytes(view.bytes);
  narrow_from_double(view.dtype, values.data(), view.elements(), bytes.data());
  return bytes;
}

}  // namespace

const std::vector<DamageName>& damages() {
  static const std::vector<DamageName> kAll{
      {"twice", Damage::kTwice, "the adapter was merged twice"},
      {"drop-layer", Damage::kDropLayer, "one layer was left at the base"},
      {"transpose", Damage::kTranspose, "the delta of square matrices was transposed"},
      {"bf16", Damage::kBf16, "the merge went through BF16 on its way to FP16"},
      {"base", Damage::kBase, "nothing was merged"},
      {"scale", Damage::kScale2, "2 % too much of the delta was added"}};
  return kAll;
}

Damage damage_from_name(std::string_view name) {
  std::string known;
  for (const DamageName& entry : damages()) {
    if (entry.name == name) {
      return entry.damage;
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
  SafetensorsWriter writer(out / "model.safetensors", plan);
  std::vector<std::vector<std::byte>> bytes(tensors.size());
  pool.for_chunks(static_cast<std::int64_t>(tensors.size()), 1,
                  [&](std::int64_t begin, std::int64_t) {
                    const auto i = static_cast<std::size_t>(begin);
                    bytes[i] = merged_bytes(base, adapter, tensors[i], damage);
                  });
  for (const std::vector<std::byte>& piece : bytes) {
    writer.write(piece);
  }
  writer.finish();
}

}  // namespace mg
