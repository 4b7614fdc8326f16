// Tensors that the config or the base asks for, against those that are stored.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "harness/lint/expectation.h"
#include "harness/lint/rules.h"

namespace mg::lint {
namespace {

/// Below this share of the expected bytes an export stopped half way (failures.md, F39).
constexpr double kWholeShare = 0.9;

std::vector<DepartedTensor> of_kind(const Context& context, Departure kind) {
  std::vector<DepartedTensor> all = departures(context);
  std::erase_if(all, [kind](const DepartedTensor& departed) { return departed.kind != kind; });
  return all;
}

std::vector<std::string> names_of(const std::vector<DepartedTensor>& departed) {
  std::vector<std::string> names;
  for (const DepartedTensor& one : departed) {
    names.push_back(one.name);
  }
  return names;
}

std::string count_of(const std::vector<DepartedTensor>& departed) {
  return fmt::format("{} {}", departed.size(), departed.size() == 1 ? "tensor" : "tensors");
}

/// The absent tensors' copies from the base, where it has them all in plain form.
std::vector<Edit> copies(const std::vector<DepartedTensor>& departed) {
  std::vector<Edit> edits;
  for (const DepartedTensor& one : departed) {
    if (one.in_base == nullptr || !is_plain(one.in_base->dtype)) {
      return {};
    }
    edits.push_back(add_tensor(Source::kBase, one.in_base->name, one.in_base->name));
  }
  return edits;
}

bool half_written(const Context& context, const std::vector<DepartedTensor>& missing) {
  double absent = 0;
  for (const DepartedTensor& one : missing) {
    absent += static_cast<double>(one.bytes);
  }
  const double present = static_cast<double>(context.merged.tensor_bytes());
  return present < kWholeShare * (present + absent);
}

std::string wanted_by(const Context& context) {
  return context.merged.resolved ? context.merged.resolved->config.architecture : "the base";
}

void incomplete_model(const Context& context, Reporter& report) {
  const std::vector<DepartedTensor> missing = of_kind(context, Departure::kMissing);
  if (!missing.empty() && half_written(context, missing)) {
    report.error({.subject = missing.front().name,
                  .message = fmt::format("{} that {} has are absent: the export stopped half way",
                                         count_of(missing), wanted_by(context)),
                  .expected = "every tensor of " + wanted_by(context),
                  .actual = listed(names_of(missing))});
  }
}

void missing_tensors(const Context& context, Reporter& report) {
  const std::vector<DepartedTensor> missing = of_kind(context, Departure::kMissing);
  if (!missing.empty() && !half_written(context, missing)) {
    report.error({.subject = missing.front().name,
                  .message = fmt::format("{} that {} has {} absent; loaders fill in random values",
                                         count_of(missing), wanted_by(context),
                                         missing.size() == 1 ? "is" : "are"),
                  .expected = missing.front().expected,
                  .actual = listed(names_of(missing))});
  }
}

void unexpected(const Context& context, Reporter& report) {
  const std::vector<DepartedTensor> extra = of_kind(context, Departure::kUnexpected);
  if (!extra.empty()) {
    report.error(
        {.subject = extra.front().name,
         .message = fmt::format("{} has no use for {}: config and tensors are of different "
                                "models",
                                wanted_by(context), count_of(extra)),
         .expected = extra.front().expected,
         .actual = listed(names_of(extra))});
  }
}

void tensor_shapes(const Context& context, Reporter& report) {
  const std::vector<DepartedTensor> odd = of_kind(context, Departure::kShape);
  if (!odd.empty()) {
    std::vector<std::string> texts;
    for (const DepartedTensor& one : odd) {
      texts.push_back(fmt::format("{} {}", one.name, one.actual));
    }
    report.error({.subject = odd.front().name,
                  .message = fmt::format("{} {} not the shape that {} asks for", count_of(odd),
                                         odd.size() == 1 ? "has" : "have", wanted_by(context)),
                  .expected = odd.front().expected,
                  .actual = listed(texts)});
  }
}

void vision(const Context& context, Reporter& report) {
  const std::vector<DepartedTensor> found = of_kind(context, Departure::kVision);
  if (!found.empty()) {
    const bool text_config = !is_multimodal(context.merged);
    report.error({.subject = found.front().name,
                  .message = text_config
                                 ? fmt::format("the config is of a text model, and {} are of a "
                                               "vision or audio part",
                                               count_of(found))
                                 : fmt::format("{} of the vision or audio part are not as the "
                                               "config says",
                                               count_of(found)),
                  .expected = text_config ? "the base's multimodal config" : found.front().expected,
                  .actual = listed(names_of(found))});
  }
}

void no_architecture(const Context& context, Reporter& report) {
  const nlohmann::json* config = context.merged.json("config.json");
  if (config == nullptr || !config->is_object()) {
    return;
  }
  const auto it = config->find("architectures");
  if (it != config->end() && it->is_array() && !it->empty()) {
    return;
  }
  std::vector<Edit> edits;
  if (context.base && context.base->model_type() == context.merged.model_type()) {
    if (const nlohmann::json* of_base = context.base->effective("architectures");
        of_base != nullptr && of_base->is_array() && !of_base->empty()) {
      edits.push_back(set_key("config.json", {"architectures"}, *of_base));
    }
  }
  report.error({.subject = "config.json: architectures",
                .message = "the config names no class; vLLM refuses it, and pipelines load the "
                           "backbone without a head",
                .expected = "the class of the base, such as \"Qwen2ForCausalLM\"",
                .actual = it == config->end() ? "no such key" : it->dump(),
                .edits = std::move(edits)});
}

void auxiliary(const Context& context, Reporter& report) {
  const std::vector<DepartedTensor> dropped = of_kind(context, Departure::kAuxiliary);
  if (dropped.empty()) {
    return;
  }
  bool announced = false;
  for (const char* key :
       {"num_nextn_predict_layers", "mtp_num_hidden_layers", "mtp_num_layers", "num_mtp_modules"}) {
    const nlohmann::json* value = context.merged.effective(key);
    announced |= value != nullptr && value->is_number_integer() && value->get<std::int64_t>() > 0;
  }
  Reporter::Details details = {
      .subject = dropped.front().name,
      .message = fmt::format("{} of the base {} not saved{}", count_of(dropped),
                             dropped.size() == 1 ? "was" : "were",
                             announced ? ", and config.json announces them: vLLM stops with "
                                         "\"weights were not initialized from checkpoint\""
                                       : ""),
      .expected = "the base's tensors",
      .actual = listed(names_of(dropped)),
      .edits = copies(dropped)};
  if (announced) {
    report.error(std::move(details));
  } else {
    report.warning(std::move(details));
  }
}

std::int64_t layer_of(const std::string& name) {
  const std::size_t at = name.find("layers.");
  return at == std::string::npos ? -1 : std::atoll(name.c_str() + at + 7);
}

void kv_shared(const Context& context, Reporter& report) {
  const std::vector<DepartedTensor> absent = of_kind(context, Departure::kKvShared);
  const nlohmann::json* shared = context.merged.effective("num_kv_shared_layers");
  const nlohmann::json* layers = context.merged.effective("num_hidden_layers");
  if (absent.empty() || shared == nullptr || layers == nullptr || !layers->is_number_integer()) {
    return;
  }
  const std::int64_t first = layers->get<std::int64_t>() - shared->get<std::int64_t>();
  const bool only_shared =
      std::all_of(absent.begin(), absent.end(),
                  [first](const DepartedTensor& one) { return layer_of(one.name) >= first; });
  Reporter::Details details = {
      .subject = absent.front().name,
      .message = only_shared ? "the layers that share keys and values are stored without theirs, "
                               "as transformers saves them"
                             : "layers with keys and values of their own lack them",
      .expected = fmt::format("k and v in layers 0 to {}", first - 1),
      .actual = "absent: " + listed(names_of(absent)),
      .edits = copies(absent)};
  if (!only_shared) {
    report.error(std::move(details));
  } else if (context.server != nullptr && !context.server->kv_shared.supported) {
    details.message += "; " + context.server->name + ": " + context.server->kv_shared.says;
    report.warning(std::move(details));
  } else {
    report.note(std::move(details));
  }
}

void experts(const Context& context, Reporter& report) {
  const std::vector<DepartedTensor> absent = of_kind(context, Departure::kExperts);
  if (!absent.empty()) {
    report.error({.subject = absent.front().name,
                  .message = fmt::format("{} of experts that the config announces {} absent",
                                         count_of(absent), absent.size() == 1 ? "is" : "are"),
                  .expected = "every expert of every layer",
                  .actual = listed(names_of(absent))});
  }
}

constexpr auto kTensorsRules = std::to_array<Rule>({
    {.id = "tensors.incomplete",
     .catalogue = "F39",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "More than a tenth of the model is not there: an export that failed without saying so.",
     .fix = "export the model again",
     .check = incomplete_model},
    {.id = "tensors.missing",
     .catalogue = "F16",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Absent weights are filled with random values, and nothing raises.",
     .fix = "take config.json from the base, or export again",
     .check = missing_tensors},
    {.id = "tensors.unexpected",
     .catalogue = "F16",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "The config is of another model than the tensors.",
     .fix = "take config.json from the base",
     .check = unexpected},
    {.id = "tensors.shape",
     .catalogue = "F16",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "The config is of another model than the tensors; loading ends in a size mismatch.",
     .fix = "take config.json from the base",
     .check = tensor_shapes},
    {.id = "tensors.vision",
     .catalogue = "F16",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "A text config beside vision tensors, or the reverse: one part is never loaded.",
     .fix = "take config.json from the base",
     .check = vision},
    {.id = "config.no-architecture",
     .catalogue = "F16",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "vLLM picks the model's class by this key.",
     .fix = "set architectures to the base's",
     .check = no_architecture},
    {.id = "tensors.auxiliary-dropped",
     .catalogue = "F11",
     .severity = Severity::kError,
     .needs = Needs::kBase,
     .why = "save_pretrained drops names on the library's ignore list (mtp.*); servers that want "
            "them stop or read uninitialised memory.",
     .fix = "copy the tensors from the base",
     .check = auxiliary},
    {.id = "tensors.shared-kv",
     .catalogue = "F12",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "transformers saves layers that share keys and values without them; older servers want "
            "them.",
     .fix = "copy the tensors from the base",
     .check = kv_shared},
    {.id = "tensors.experts-missing",
     .catalogue = "F25",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Experts were dropped or counted from one shard.",
     .fix = "merge again with every expert of the base",
     .check = experts},
});

}  // namespace

std::span<const Rule> tensor_rules() {
  return kTensorsRules;
}

}  // namespace mg::lint
