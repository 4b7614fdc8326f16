// The dtype that config.json declares, the one that is stored, and the base's.
#include <fmt/format.h>

#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "harness/lint/rules.h"

namespace mg::lint {
namespace {

constexpr std::string_view kOld = "torch_dtype";
constexpr std::string_view kNew = "dtype";

std::string_view torch_name(DType dtype) {
  return dtype == DType::kF16 ? "float16" : dtype == DType::kBF16 ? "bfloat16" : "float32";
}

/// "torch.float16" and "float16" mean the same; other values ("auto") declare nothing.
std::string declared_dtype(const nlohmann::json* value) {
  if (value == nullptr || !value->is_string()) {
    return {};
  }
  std::string name = value->get<std::string>();
  if (name.starts_with("torch.")) {
    name.erase(0, 6);
  }
  return name == "float16" || name == "bfloat16" || name == "float32" ? name : std::string();
}

bool is_model_level(const ConfigLevel& level) {
  return level.path.empty() || level.path.back().ends_with("_config");
}

void declared(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  const std::optional<DType> stored = model.majority_dtype();
  if (!stored || !model.plain()) {
    return;
  }
  for (const ConfigLevel& level : model.levels()) {
    const std::string old_name = declared_dtype(level.find(kOld));
    const std::string new_name = declared_dtype(level.find(kNew));
    if (!is_model_level(level) ||
        (!old_name.empty() && !new_name.empty() && old_name != new_name)) {
      continue;  // two different answers: config.dtype-keys
    }
    const std::string& name = new_name.empty() ? old_name : new_name;
    if (name.empty() || name == torch_name(*stored)) {
      continue;
    }
    std::vector<Edit> edits;
    for (const std::string_view key : {kOld, kNew}) {
      if (!declared_dtype(level.find(key)).empty()) {
        edits.push_back(
            set_key("config.json", level.path_to(key), std::string(torch_name(*stored))));
      }
    }
    report.warning({.subject = "config.json: " + level.key(new_name.empty() ? kOld : kNew),
                    .message = "the declared dtype is not the stored one: loaders that follow it "
                               "convert every weight",
                    .expected = std::string(torch_name(*stored)),
                    .actual = name,
                    .edits = std::move(edits)});
  }
}

void keys(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  for (const ConfigLevel& level : model.levels()) {
    const std::string old_name = declared_dtype(level.find(kOld));
    const std::string new_name = declared_dtype(level.find(kNew));
    if (!is_model_level(level) || (old_name.empty() && new_name.empty()) || old_name == new_name) {
      continue;
    }
    if (!old_name.empty() && !new_name.empty()) {
      const std::optional<DType> stored = model.majority_dtype();
      std::vector<Edit> edits;
      if (stored) {
        for (const std::string_view key : {kOld, kNew}) {
          edits.push_back(
              set_key("config.json", level.path_to(key), std::string(torch_name(*stored))));
        }
      }
      report.warning({.subject = "config.json: " + level.key(kNew),
                      .message = "dtype and torch_dtype say different things: which one counts "
                                 "depends on the reader's version",
                      .expected = "one dtype",
                      .actual = fmt::format("torch_dtype {}, dtype {}", old_name, new_name),
                      .edits = std::move(edits)});
    } else if (level.path.empty()) {
      const bool is_new = !new_name.empty();
      report.note({.subject = "config.json: " + level.key(is_new ? kNew : kOld),
                   .message = is_new ? "transformers before 4.56 reads torch_dtype and takes a "
                                       "file without it for float32"
                                     : "written before transformers 4.56 renamed the key to dtype",
                   .expected = "both keys, for readers of both generations",
                   .actual = is_new ? "dtype only" : "torch_dtype only"});
    }
  }
}

/// Tensors whose dtype is not the base's, by the pair of dtypes.
void changed(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  const ModelFolder& base = *context.base;
  const std::optional<DType> from = base.majority_dtype();
  const std::optional<DType> to = model.majority_dtype();
  if (!from || !to || !base.plain()) {
    return;
  }
  std::map<std::pair<DType, DType>, std::vector<std::string>> groups;
  for (const HeaderTensor& tensor : model.tensors) {
    const HeaderTensor* old = base.find(tensor.canonical);
    if (old != nullptr && is_plain(old->dtype) && is_plain(tensor.dtype) &&
        old->dtype != tensor.dtype) {
      groups[{old->dtype, tensor.dtype}].push_back(tensor.name);
    }
  }
  const std::string said = declared_dtype(model.effective(kNew)).empty()
                               ? declared_dtype(model.effective(kOld))
                               : declared_dtype(model.effective(kNew));
  for (const auto& [pair, names] : groups) {
    // A cast of the whole file that the config declares is a choice; FP32 doubles a 16-bit file.
    const bool cast = pair.first == *from && pair.second == *to && said == torch_name(*to) &&
                      pair.second != DType::kF32;
    Reporter::Details details = {
        .subject = names.front(),
        .message = fmt::format("{} {} stored as {}, the base has {}", names.size(),
                               names.size() == 1 ? "tensor is" : "tensors are",
                               dtype_name(pair.second), dtype_name(pair.first)),
        .expected = std::string(dtype_name(pair.first)),
        .actual = fmt::format("{}: {}", dtype_name(pair.second), listed(names))};
    if (cast) {
      report.note(std::move(details));
    } else {
      report.warning(std::move(details));
    }
  }
}

constexpr auto kDtypesRules = std::to_array<Rule>({
    {.id = "config.dtype",
     .catalogue = "F05",
     .severity = Severity::kWarning,
     .needs = Needs::kMerged,
     .why = "Loaders that follow the declared dtype convert every weight, or double the memory.",
     .fix = "set the key to the dtype that most bytes are stored in",
     .check = declared},
    {.id = "config.dtype-keys",
     .catalogue = "F06",
     .severity = Severity::kWarning,
     .needs = Needs::kMerged,
     .why = "transformers renamed torch_dtype to dtype; readers of one do not see the other.",
     .fix = "write both keys with the same value",
     .check = keys},
    {.id = "tensors.dtype",
     .catalogue = "F05",
     .severity = Severity::kWarning,
     .needs = Needs::kBase,
     .why = "A norm or router stored narrower than the base's drifts; FP32 doubles the file.",
     .fix = "merge again in the base's dtypes",
     .check = changed,
     .audited = true},
});

}  // namespace

std::span<const Rule> dtype_rules() {
  return kDtypesRules;
}

}  // namespace mg::lint
