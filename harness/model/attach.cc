#include "harness/model/attach.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "harness/io/gguf_names.h"
#include "harness/model/arch.h"
#include "harness/model/base_index.h"
#include "harness/model/expert_layout.h"
#include "harness/model/names.h"
#include "harness/model/targets.h"

namespace mg {
namespace {

std::string shown(const TensorView& view) {
  return to_string(view.shape);
}

struct Packed {
  std::string_view packed;
  std::string_view parts;
  std::string_view first_part;
};
constexpr auto kPacked = std::to_array<Packed>({
    {"qkv_proj", "q_proj, k_proj, v_proj", "q_proj"},
    {"qkv_proj", "q_proj, k_proj, v_proj", "k_proj"},
    {"qkv_proj", "q_proj, k_proj, v_proj", "v_proj"},
    {"gate_up_proj", "gate_proj, up_proj", "gate_proj"},
    {"gate_up_proj", "gate_proj, up_proj", "up_proj"},
});

// Whether the family of this base stores matrices as [in, out]; nothing for one the table does not
// know.
std::optional<bool> known_conv1d(const Checkpoint& base) {
  const auto type = base.config().find("model_type");
  if (type == base.config().end() || !type->is_string()) {
    return std::nullopt;
  }
  for (const ArchSpec* arch : architectures()) {
    if (arch->model_type == type->get_ref<const std::string&>()) {
      return std::any_of(arch->rules.begin(), arch->rules.end(),
                         [](const TensorRule& rule) { return rule.layout == Layout::kConv1D; });
    }
  }
  return std::nullopt;
}

bool is_linear_fit(const AdapterModule& module, const Shape& weight) {
  return weight.size() == 2 && weight[0] == module.b.dim(0) && weight[1] == module.a.dim(1);
}

bool is_conv1d_fit(const AdapterModule& module, const Shape& weight) {
  return weight.size() == 2 && weight[1] == module.b.dim(0) && weight[0] == module.a.dim(1);
}

class Attacher {
 public:
  Attacher(const Adapter& adapter, const Checkpoint& base)
      : adapter_(adapter), base_(base), index_(base) {}

  AttachedAdapter run() {
    learn_orientation();
    learn_head_size();
    for (const AdapterModule& module : adapter_.modules()) {
      attach_module(module.interleaved_b ? in_base_order(module) : module);
    }
    for (const AdapterReplacement& replacement : adapter_.replacements()) {
      attach_replacement(replacement);
    }
    out_.unreached.insert(out_.unreached.end(), adapter_.unrecognised().begin(),
                          adapter_.unrecognised().end());
    note_orientation();
    note_targets();
    return std::move(out_);
  }

 private:
  void misfit(const AdapterModule& module, std::string_view target, const std::string& shape) {
    out_.problems.push_back(fmt::format("{}: A {} and B {} do not fit {} {}", module.raw_name,
                                        shown(module.a), shown(module.b), target, shape));
  }

  void attach_module(const AdapterModule& module) {
    if (module.kind == LowRankKind::kParameter) {
      attach_parameter(module);
      return;
    }
    const std::string path = canonical_name(module.module);
    AttachedDelta delta;
    delta.module = &module;
    BaseIndex::Weight weight = index_.find(path + ".weight");
    if (!weight && path == BaseIndex::kHead) {
      weight = index_.tied_embedding();
      delta.tied_head = static_cast<bool>(weight);
    }
    if (!weight) {
      unreached(module, path);
      return;
    }
    delta.target = weight.stored;
    delta.quantised = weight.quantised;
    if (fit(module, delta) && attach_bias(module, path, delta)) {
      out_.deltas.push_back(std::move(delta));
    }
  }

  /// Decides the orientation and the weight's shape; false (and a problem) where nothing fits.
  bool fit(const AdapterModule& module, AttachedDelta& delta) {
    delta.shape = delta.target->view.shape;
    switch (module.kind) {
      case LowRankKind::kEmbedding:
        delta.transposed = true;
        if (delta.shape == Shape{module.a.dim(1), module.b.dim(0)}) {
          return true;
        }
        break;
      case LowRankKind::kConv:
        if (fits_conv(module, delta.shape)) {
          return true;
        }
        break;
      default:
        if (fit_linear(module, delta)) {
          return true;
        }
    }
    misfit(module, delta.target->name, to_string(delta.shape));
    return false;
  }

  bool fit_linear(const AdapterModule& module, AttachedDelta& delta) const {
    if (delta.quantised && delta.shape != Shape{module.b.dim(0), module.a.dim(1)}) {
      // Packed codes: the pair itself says how large the weight is; bitsandbytes packs two codes a
      // byte.
      delta.shape = {module.b.dim(0), module.a.dim(1)};
      const std::int64_t codes = delta.target->view.elements();
      const std::int64_t weights = element_count(delta.shape).value_or(0);
      return !delta.target->name.ends_with(".weight") || codes == (weights + 1) / 2;
    }
    const bool linear = is_linear_fit(module, delta.shape);
    const bool conv1d = is_conv1d_fit(module, delta.shape);
    delta.transposed = conv1d && (!linear || (square_is_conv1d_ && !is_head(module)));
    return linear || conv1d;
  }

  static bool is_head(const AdapterModule& module) {
    return last_component(module.module) == BaseIndex::kHead;
  }

  static bool fits_conv(const AdapterModule& module, const Shape& weight) {
    const Shape& a = module.a.shape;
    const bool point_b = module.b.elements() == module.b.dim(0) * module.b.dim(1);
    return weight.size() >= 3 && a.size() == weight.size() && point_b &&
           weight[0] == module.b.dim(0) && std::equal(a.begin() + 1, a.end(), weight.begin() + 1);
  }

  bool attach_bias(const AdapterModule& module, const std::string& path, AttachedDelta& delta) {
    if (module.bias.empty()) {
      return true;
    }
    const BaseIndex::Weight bias = index_.find(path + ".bias");
    if (!bias) {
      out_.problems.push_back(fmt::format(
          "{}: lora_bias adds to {}.bias, which the base does not have", module.raw_name, path));
      return false;
    }
    if (bias.stored->view.elements() != module.bias.elements()) {
      out_.problems.push_back(fmt::format("{}: the bias {} of lora_B does not fit {} {}",
                                          module.raw_name, shown(module.bias), bias.stored->name,
                                          shown(bias.stored->view)));
      return false;
    }
    delta.target_bias = bias.stored;
    return true;
  }

  void unreached(const AdapterModule& module, const std::string& path) {
    out_.unreached.push_back(module.raw_name);
    const std::string container = path.substr(0, path.rfind('.'));
    for (const Packed& names : kPacked) {
      const bool split_pair = last_component(path) == names.first_part;
      if (split_pair && index_.find(fmt::format("{}.{}.weight", container, names.packed))) {
        out_.problems.push_back(fmt::format(
            "{}: the base stores {} in one matrix, {}.{}: a pair on one part of it is not "
            "what PEFT trains on this base; the adapter is for a base with split projections",
            module.raw_name, names.parts, container, names.packed));
        return;
      }
      if (last_component(path) == names.packed &&
          index_.find(fmt::format("{}.{}.weight", container, names.first_part))) {
        out_.problems.push_back(fmt::format(
            "{}: the base stores {} apart: the adapter is for a base with one matrix; split "
            "its B by rows and share its A",
            module.raw_name, names.parts));
        return;
      }
    }
  }

  void attach_parameter(const AdapterModule& module) {
    // Which parameter a nested pair adapts is not in the file: the reader's choice first, then by
    // shape.
    std::vector<std::string> candidates = {module.module};
    for (const std::string& other : module.parameter_candidates) {
      if (other != module.module) {
        candidates.push_back(other);
      }
    }
    std::optional<ExpertParameter> seen;
    for (const std::string& candidate : candidates) {
      const std::optional<ExpertParameter> parameter =
          find_parameter(index_, canonical_name(candidate));
      if (!parameter) {
        continue;
      }
      const ExpertFit found = fit_experts(module, *parameter, adapter_.config().peft_version);
      if (found.order != ExpertOrder::kNone) {
        add_parameter(module, *parameter, found);
        return;
      }
      seen = seen ? seen : parameter;
    }
    if (!seen) {
      out_.unreached.push_back(module.raw_name);
      return;
    }
    misfit(module, seen->name, to_string({seen->experts, seen->d1, seen->d2}));
  }

  void add_parameter(const AdapterModule& module, const ExpertParameter& parameter,
                     const ExpertFit& found) {
    for (const ExpertPart& part : parameter.parts) {
      AttachedDelta& delta = out_.deltas.emplace_back();
      delta.target = part.weight.stored;
      delta.module = &module;
      delta.transposed = found.order == ExpertOrder::kTransposed;
      delta.expert_count = parameter.experts;
      delta.expert = part.expert;
      delta.first_row = part.first_row;
      delta.quantised = part.weight.quantised;
      delta.shape = part.weight.stored->view.shape;
    }
    if (found.by_version) {
      out_.surprises.push_back(
          fmt::format("{}: {} is square, so its orientation follows from peft_version {}",
                      module.raw_name, parameter.name,
                      adapter_.config().peft_version.empty() ? "(not given: before 0.18)"
                                                             : adapter_.config().peft_version));
    }
  }

  void attach_replacement(const AdapterReplacement& replacement) {
    const std::string name = canonical_name(replacement.name);
    const BaseIndex::Weight weight = index_.find(name);
    if (!weight) {
      if (name == "lm_head.weight" && index_.tied_embedding()) {
        out_.replacements.push_back({.target = nullptr, .replacement = &replacement});
      } else {
        out_.unreached.push_back(replacement.raw_name);
      }
      return;
    }
    const TensorView& base = weight.stored->view;
    const bool fits = replacement.rows.empty()
                          ? weight.quantised || base.shape == replacement.value.shape
                          : fits_rows(replacement, base);
    if (!fits) {
      out_.problems.push_back(fmt::format("{}: {} does not fit {} {}", replacement.raw_name,
                                          shown(replacement.value), weight.stored->name,
                                          shown(base)));
      return;
    }
    out_.replacements.push_back({.target = weight.stored, .replacement = &replacement});
  }

  static bool fits_rows(const AdapterReplacement& replacement, const TensorView& base) {
    return base.shape.size() == 2 && replacement.value.dim(1) == base.dim(1) &&
           std::all_of(replacement.rows.begin(), replacement.rows.end(),
                       [&base](std::int64_t row) { return row >= 0 && row < base.dim(0); });
  }

  // Only a GGUF adapter is for one family of bases, and takes the base's head size.
  void learn_head_size() {
    const std::string& architecture = adapter_.config().gguf_architecture;
    if (architecture.empty()) {
      return;
    }
    const std::string where = (base_.folder() / "config.json").string();
    try {
      const ArchSpec& arch = find_architecture(base_.config(), where);
      if (!gguf_holds(architecture, arch.model_type)) {
        out_.problems.push_back(
            fmt::format("{}: the adapter is for a base that llama.cpp calls {}, the base is {}",
                        adapter_.config().file, architecture, arch.model_type));
      }
      head_dim_ = arch.read_config(base_.config(), where).head_dim;
    } catch (const Error& error) {
      out_.problems.push_back(fmt::format("{}: the base's head size is not known: {}",
                                          adapter_.config().file, error.parts().what));
    }
  }

  const AdapterModule& in_base_order(const AdapterModule& module) {
    const std::int64_t rows = module.b.dim(0);
    if (head_dim_ <= 0 || head_dim_ % 2 != 0 || rows % head_dim_ != 0) {
      if (head_dim_ > 0) {
        out_.problems.push_back(fmt::format("{}: {} rows of B are not made of heads of {}",
                                            module.raw_name, rows, head_dim_));
      }
      return module;
    }
    const std::size_t row_bytes = module.b.bytes / static_cast<std::size_t>(rows);
    auto reordered = std::make_shared<ReorderedModule>();
    reordered->module = module;
    reordered->b.resize(module.b.bytes);
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t stored = gguf_interleaved_row(row, head_dim_);
      std::memcpy(&reordered->b[static_cast<std::size_t>(row) * row_bytes],
                  module.b.data + static_cast<std::size_t>(stored) * row_bytes, row_bytes);
    }
    reordered->module.b.data = reordered->b.data();
    reordered->module.interleaved_b = false;
    out_.reordered.push_back(std::move(reordered));
    return out_.reordered.back()->module;
  }

  // A square weight does not show how it lies: the family tells, or the other weights of the model,
  // or the flag.
  void learn_orientation() {
    if (const std::optional<bool> known = known_conv1d(base_)) {
      square_is_conv1d_ = *known;
      return;
    }
    bool linear = false;
    bool conv1d = false;
    for (const AdapterModule& module : adapter_.modules()) {
      const BaseIndex::Weight weight = index_.find(canonical_name(module.module) + ".weight");
      if (module.kind != LowRankKind::kLinear || !weight || is_head(module)) {
        continue;
      }
      const bool as_linear = is_linear_fit(module, weight.stored->view.shape);
      const bool as_conv1d = is_conv1d_fit(module, weight.stored->view.shape);
      linear = linear || (as_linear && !as_conv1d);
      conv1d = conv1d || (as_conv1d && !as_linear);
    }
    square_is_conv1d_ = linear == conv1d ? adapter_.config().fan_in_fan_out : conv1d;
  }

  // PEFT corrects the flag by the layer's class when it loads; tools that trust it transpose
  // wrongly.
  void note_orientation() {
    const bool flag = adapter_.config().fan_in_fan_out;
    std::int64_t differing = 0;
    const AttachedDelta* first = nullptr;
    for (const AttachedDelta& delta : out_.deltas) {
      if (delta.module->kind == LowRankKind::kLinear && delta.transposed != flag &&
          !is_head(*delta.module)) {
        first = first == nullptr ? &delta : first;
        ++differing;
      }
    }
    if (first != nullptr) {
      out_.surprises.push_back(fmt::format(
          "fan_in_fan_out is {}, but {} adapted weight{} stored as [{}] (first: {}); PEFT corrects "
          "the flag when it loads, other tools transpose wrongly",
          flag, differing, differing == 1 ? " is" : "s are", flag ? "out, in" : "in, out",
          first->target->name));
    }
  }

  void note_targets() {
    const TargetCheck check = check_targets(adapter_, index_);
    const auto note = [this](const std::vector<std::string>& modules, std::string_view what) {
      if (!modules.empty()) {
        out_.surprises.push_back(fmt::format("{} {} {} (first: {})", modules.size(),
                                             modules.size() == 1 ? "module" : "modules", what,
                                             modules.front()));
      }
    };
    note(check.missing, "named by target_modules without a pair in the file");
    note(check.extra,
         "with a pair in the file that target_modules does not name; PEFT would not load it");
  }

  const Adapter& adapter_;
  const Checkpoint& base_;
  BaseIndex index_;
  AttachedAdapter out_;
  bool square_is_conv1d_ = false;
  std::int64_t head_dim_ = 0;
};

}  // namespace

const AttachedDelta* AttachedAdapter::delta_for(const StoredTensor& base) const {
  const auto it = std::find_if(deltas.begin(), deltas.end(), [&base](const AttachedDelta& delta) {
    return delta.target == &base && !delta.tied_head;
  });
  return it == deltas.end() ? nullptr : &*it;
}

const AttachedDelta* AttachedAdapter::head_delta() const {
  const auto it = std::find_if(deltas.begin(), deltas.end(),
                               [](const AttachedDelta& delta) { return delta.tied_head; });
  return it == deltas.end() ? nullptr : &*it;
}

const AttachedReplacement* AttachedAdapter::replacement_for(const StoredTensor& base) const {
  const auto it = std::find_if(replacements.begin(), replacements.end(),
                               [&base](const AttachedReplacement& part) {
                                 return part.target == &base && !part.replacement->base_copy;
                               });
  return it == replacements.end() ? nullptr : &*it;
}

AttachedAdapter attach(const Adapter& adapter, const Checkpoint& base) {
  return Attacher(adapter, base).run();
}

}  // namespace mg
