// quantization_config against the tensors: a leftover key, or packed tensors in a "16-bit"
// checkpoint.
#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "harness/io/quantisation_config.h"
#include "harness/lint/rules.h"
#include "harness/model/quantised_names.h"
#include "kernels/core/error.h"

namespace mg::lint {
namespace {

constexpr std::string_view kKey = "quantization_config";

struct Declaration {
  ConfigLevel level;
  std::string method;
};

std::vector<Declaration> declarations(const ModelFolder& model) {
  std::vector<Declaration> found;
  for (ConfigLevel& level : model.levels()) {
    const nlohmann::json* value = level.find(kKey);
    if (value == nullptr || value->is_null()) {
      continue;
    }
    std::string method = "unnamed";
    if (value->is_object()) {
      const auto name = value->find("quant_method");
      const auto four = value->find("load_in_4bit");
      const auto eight = value->find("load_in_8bit");
      if (name != value->end() && name->is_string()) {
        method = name->get<std::string>();
      } else if (four != value->end() || eight != value->end()) {
        method = "bitsandbytes";  // files of 2023 name only the switches
      }
    }
    found.push_back({std::move(level), std::move(method)});
  }
  return found;
}

/// What a server does with the key, in its own words (docs/reference/failures.md, F01).
std::string consequence(const std::string& method, const ModelFolder& model) {
  std::string weight = "a weight";
  for (const HeaderTensor& tensor : model.tensors) {
    if (tensor.shape.size() == 2 && tensor.name.find(".layers.") != std::string::npos) {
      weight = tensor.name;
      break;
    }
  }
  if (method == "bitsandbytes") {
    return fmt::format(
        "vLLM looks for bitsandbytes (\"Could not find the bitsandbytes CUDA binary\") and then "
        "stops at \"Unexpected weight: {}\"",
        weight);
  }
  return fmt::format("vLLM builds {} layers and stops at {} or at its missing scales", method,
                     weight);
}

/// The path to delete: the key, or the object around it where it holds nothing else (a text_config
/// that an exporter made for the key alone would hide the keys at the root).
std::vector<std::string> leftover_path(const ConfigLevel& level) {
  return !level.path.empty() && level.object->size() == 1 ? level.path : level.path_to(kKey);
}

/// The key beside plain tensors: what F01 (root) and F02 (any deeper object) have in common.
void leftover(const Context& context, Reporter& report, bool root) {
  const ModelFolder& model = context.merged;
  if (model.tensors.empty() || !model.plain()) {
    return;
  }
  for (const Declaration& found : declarations(model)) {
    if (found.level.path.empty() != root) {
      continue;
    }
    // The base may be a plain model that asks to be quantised on load; then merged says the same
    // with reason.
    bool base_says_so = false;
    if (context.base && context.base->plain()) {
      for (const Declaration& of_base : declarations(*context.base)) {
        base_says_so |= of_base.level.path == found.level.path;
      }
    }
    Reporter::Details details = {
        .subject = "config.json: " + found.level.key(kKey),
        .message = fmt::format("every weight is plain, but config.json declares {}: {}",
                               found.method, consequence(found.method, model)),
        .expected = "no " + std::string(kKey),
        .actual = found.method,
        .edits = base_says_so
                     ? std::vector<Edit>{}
                     : std::vector<Edit>{set_key("config.json", leftover_path(found.level), {})},
        .fix = base_says_so ? "delete the key unless quantising on load is wanted; the base has it "
                              "too"
                            : ""};
    if (base_says_so) {
      report.warning(std::move(details));
    } else {
      report.error(std::move(details));
    }
  }
}

void leftover_root(const Context& context, Reporter& report) {
  leftover(context, report, true);
}

void leftover_nested(const Context& context, Reporter& report) {
  leftover(context, report, false);
}

/// bitsandbytes stores a 4-bit weight as one column of bytes.
bool is_packed_column(const HeaderTensor& tensor) {
  return (tensor.dtype == DType::kU8 || tensor.dtype == DType::kI8) && tensor.shape.size() == 2 &&
         (tensor.shape[0] == 1 || tensor.shape[1] == 1);
}

void packed(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  std::vector<std::string> names;
  for (const HeaderTensor& tensor : model.tensors) {
    if (tensor.companion || is_packed_column(tensor)) {
      names.push_back(tensor.name);
    }
  }
  if (names.empty()) {
    return;
  }
  const std::vector<Declaration> declared = declarations(model);
  const bool base_plain = context.base && context.base->plain();
  if (!declared.empty() && !base_plain) {
    report.note({.subject = "config.json: " + declared.front().level.key(kKey),
                 .message = fmt::format("a quantised checkpoint ({}), as its config says",
                                        declared.front().method),
                 .expected = {},
                 .actual = fmt::format("{} companions and codes", names.size()),
                 .fix = "nothing to repair; whether the delta survived the codes is F29, which "
                        "needs a 16-bit merge to compare with"});
    return;
  }
  report.error({.subject = names.front(),
                .message = fmt::format(
                    "{} of a quantised weight in a checkpoint that {}; loaders stop with KeyError "
                    "or load codes as values",
                    names.size() == 1 ? "a part" : fmt::format("{} parts", names.size()),
                    declared.empty() ? "declares no quantisation" : "belongs to a 16-bit base"),
                .expected = "F16, BF16 or F32 weights without companions",
                .actual = listed(names)});
}

/// What the reader of `model`'s codes says where it cannot make one weight of each (it looks at
/// headers, and at the few numbers that describe codes); nothing where it can, or has none to read.
std::optional<ErrorParts> unreadable_codes(const ModelFolder& model) {
  const nlohmann::json* config = model.json("config.json");
  const nlohmann::json* declared = config == nullptr ? nullptr : find_quantization_config(*config);
  if (!model.checkpoint || declared == nullptr || is_bitsandbytes(*declared)) {
    return std::nullopt;  // other rules say why
  }
  try {
    static_cast<void>(Checkpoint::open(model.scan.path, {.decode = true}));
  } catch (const Error& error) {
    if (error.parts().code.starts_with("quantised.")) {
      return error.parts();
    }
  }
  return std::nullopt;
}

/// Parts that are missing or do not fit together: of a weight that is served as codes, this is what
/// a stale or dropped scale looks like from outside.
void parts_apart(const ModelFolder& model, Reporter& report) {
  const std::optional<ErrorParts> problem = unreadable_codes(model);
  if (!problem ||
      (problem->code != "quantised.incomplete" && problem->code != "quantised.layout")) {
    return;
  }
  report.error({.subject = problem->where.substr(problem->where.rfind(": ") + 2),
                .message = problem->what,
                .expected = problem->expected,
                .actual = problem->actual,
                .fix = problem->hint});
}

/// Codes need the scales they were made with.
void without_scale(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  std::set<std::string> with_companions;
  for (const HeaderTensor& tensor : model.tensors) {
    if (auto of = tensor.companion ? quantised_name(tensor.name) : std::nullopt) {
      with_companions.insert(std::move(of->weight));
    }
  }
  std::vector<std::string> names;
  for (const HeaderTensor& tensor : model.tensors) {
    const bool codes = tensor.dtype == DType::kF8E4M3 || tensor.dtype == DType::kF8E5M2 ||
                       tensor.dtype == DType::kU8 || tensor.dtype == DType::kI8 ||
                       tensor.dtype == DType::kF4;
    if (codes && !tensor.companion && tensor.shape.size() >= 2 &&
        !with_companions.contains(tensor.name)) {
      names.push_back(tensor.name);
    }
  }
  if (!names.empty()) {
    report.error({.subject = names.front(),
                  .message = fmt::format(
                      "{} of codes lost the scales that give them their values; "
                      "outputs are off by the blocks' scales",
                      names.size() == 1 ? "a tensor" : fmt::format("{} tensors", names.size())),
                  .expected = "weight_scale, weight_scale_inv, absmax or SCB beside each",
                  .actual = listed(names)});
    return;
  }
  parts_apart(model, report);
}

/// What bitsandbytes stored, by the names of its parts: "nf4", "fp4", "int8", or several.
std::set<std::string> stored_kinds(const ModelFolder& model) {
  std::set<std::string> kinds;
  for (const HeaderTensor& tensor : model.tensors) {
    for (const std::string kind : {"nf4", "fp4"}) {
      if (tensor.name.ends_with(".quant_state.bitsandbytes__" + kind)) {
        kinds.insert(kind);
      }
    }
    if (tensor.name.ends_with(".SCB")) {
      kinds.insert("int8");
    }
  }
  return kinds;
}

/// The kind that a bitsandbytes quantization_config asks for (transformers' BitsAndBytesConfig; its
/// default for four bits is fp4); another method by its name.
std::string declared_kind(const Declaration& declaration) {
  if (declaration.method != "bitsandbytes") {
    return declaration.method;
  }
  const nlohmann::json& value = *declaration.level.find(kKey);
  const auto flag = [&value](const char* key) {
    const auto found = value.find(key);
    return found != value.end() && found->is_boolean() && found->get<bool>();
  };
  if (flag("load_in_8bit")) {
    return "int8";
  }
  const auto type = value.find("bnb_4bit_quant_type");
  return type != value.end() && type->is_string() ? type->get<std::string>() : "fp4";
}

/// A description that means nothing is an error; one that others read, a note.
void description(const ModelFolder& model, Reporter& report) {
  const std::optional<ErrorParts> problem = unreadable_codes(model);
  if (!problem ||
      (problem->code != "quantised.config" && problem->code != "quantised.unsupported")) {
    return;
  }
  const std::string key = problem->where.substr(problem->where.rfind(": ") + 2);
  Reporter::Details details = {.subject = model.role + "/config.json: " + key,
                               .message = problem->what,
                               .expected = problem->expected,
                               .actual = problem->actual,
                               .fix = problem->hint};
  if (problem->code == "quantised.config") {
    report.error(std::move(details));
  } else {
    details.message = "a form of quantisation that is not read here: its parts were not checked";
    report.note(std::move(details));
  }
}

void contents_against_config(const Context& context, Reporter& report) {
  description(context.merged, report);
  if (context.base) {
    description(*context.base, report);
  }
  for (const ModelFolder* model : {&context.merged, context.base ? &*context.base : nullptr}) {
    const std::set<std::string> stored =
        model == nullptr ? std::set<std::string>{} : stored_kinds(*model);
    if (stored.empty()) {
      continue;
    }
    const std::vector<Declaration> declared = declarations(*model);
    if (declared.empty() && model == &context.merged) {
      continue;  // tensors.packed
    }
    std::set<std::string> asked;
    for (const Declaration& declaration : declared) {
      asked.insert(declared_kind(declaration));
    }
    if (stored == asked) {
      continue;
    }
    report.error(
        {.subject = model->role + "/config.json: " + std::string(kKey),
         .message = fmt::format("the weights are stored as {}, config.json says {}: loaders build "
                                "layers for what the config says",
                                fmt::join(stored, " and "),
                                asked.empty() ? std::string("nothing of quantisation")
                                              : fmt::format("{}", fmt::join(asked, " and "))),
         .expected = fmt::format("{}", fmt::join(stored, " and ")),
         .actual =
             asked.empty() ? std::string("no key") : fmt::format("{}", fmt::join(asked, " and "))});
  }
}

constexpr auto kQuantizationRules = std::to_array<Rule>({
    {.id = "config.leftover-quantization",
     .catalogue = "F01",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "The base was loaded in 4 bits and the exporter copied its key: the server tries to "
            "unpack plain weights.",
     .fix = "delete quantization_config from config.json",
     .check = leftover_root},
    {.id = "config.leftover-quantization-nested",
     .catalogue = "F02",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Multimodal configs keep the key in text_config or vision_config as well; stripping "
            "the root leaves it.",
     .fix = "delete quantization_config from every object of config.json",
     .check = leftover_nested},
    {.id = "tensors.packed",
     .catalogue = "F03",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "merge_and_unload on a quantised model keeps packed layers: codes where weights are "
            "expected.",
     .fix = "merge again onto the 16-bit base: mergegauge merge --base BASE --adapter ADAPTER "
            "--out DIR",
     .check = packed},
    {.id = "config.quantization-kind",
     .catalogue = "F03",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "A quantised checkpoint whose config names another form than it holds is loaded as "
            "that other form, or not at all.",
     .fix = "take config.json from the folder the weights came from",
     .check = contents_against_config},
    {.id = "tensors.codes-without-scale",
     .catalogue = "F04",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Codes of a block-quantised base without their scales are off by each block's scale.",
     .fix = "dequantise the base, merge into that, and save in 16 bits without "
            "quantization_config",
     .check = without_scale},
});

}  // namespace

std::span<const Rule> quantization_rules() {
  return kQuantizationRules;
}

}  // namespace mg::lint
