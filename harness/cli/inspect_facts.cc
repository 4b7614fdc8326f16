#include "harness/cli/inspect_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/io/adapter.h"
#include "harness/io/checkpoint.h"
#include "harness/io/folder.h"
#include "harness/io/gguf.h"
#include "harness/model/attach.h"
#include "harness/model/base_index.h"
#include "harness/model/names.h"
#include "harness/model/quantised_names.h"
#include "harness/model/resolve.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

constexpr auto kTokenizerFiles = std::to_array<std::string_view>(
    {"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt",
     "special_tokens_map.json", "added_tokens.json"});

class DTypeTally {
 public:
  void add(const TensorView& view) { add(std::string(dtype_name(view.dtype)), view.bytes); }
  void add(const std::string& name, std::size_t bytes) {
    DTypeShare& share = shares_[name];
    ++share.tensors;
    share.bytes += bytes;
  }
  std::vector<DTypeShare> sorted() const {
    std::vector<DTypeShare> list;
    for (const auto& [name, share] : shares_) {
      list.push_back(share);
      list.back().name = name;
    }
    std::stable_sort(list.begin(), list.end(), [](const DTypeShare& left, const DTypeShare& right) {
      return left.bytes > right.bytes;
    });
    return list;
  }

 private:
  std::map<std::string, DTypeShare> shares_;
};

std::string one_line(const Error& error) {
  const ErrorParts& parts = error.parts();
  std::string text = parts.what;
  if (!parts.where.empty()) {
    text += " (" + parts.where + ")";
  }
  if (!parts.actual.empty()) {
    text += ": " + parts.actual;
  }
  return text;
}

std::string problem_text(const ResolveProblem& problem) {
  switch (problem.kind) {
    case ResolveProblem::Kind::kMissing:
      return fmt::format("{} {} is missing", problem.name, problem.expected);
    case ResolveProblem::Kind::kShape:
      return fmt::format("{} is {}, config.json asks for {}", problem.name, problem.actual,
                         problem.expected);
    case ResolveProblem::Kind::kUnclaimed:
      return fmt::format("{} {} belongs to nothing in this architecture", problem.name,
                         problem.actual);
    case ResolveProblem::Kind::kCollision:
      return fmt::format("{} is {}", problem.name, problem.actual);
  }
  return problem.name;
}

std::string safetensors_dtype(const std::string& declared) {
  constexpr auto kNames = std::to_array<std::pair<std::string_view, std::string_view>>(
      {{"float32", "F32"}, {"float16", "F16"}, {"bfloat16", "BF16"}, {"float64", "F64"}});
  for (const auto& [torch, stored] : kNames) {
    if (declared == torch) {
      return std::string(stored);
    }
  }
  return {};
}

class CheckpointInspector {
 public:
  explicit CheckpointInspector(const fs::path& folder)
      : checkpoint_(Checkpoint::open(
            folder, {.require_config = false, .decode = folder.extension() == ".gguf"})) {
    facts_.folder = folder.string();
  }

  CheckpointFacts run() {
    count_tensors();
    read_architecture();
    name_codes();
    look_at_files();
    compare_with_config();
    return std::move(facts_);
  }

 private:
  void count_tensors() {
    DTypeTally tally;
    for (const StoredTensor& tensor : checkpoint_.tensors()) {
      if (tensor.quantised != nullptr) {
        tally.add(tensor.quantised->format, tensor.quantised->stored_bytes());
        facts_.bytes += tensor.quantised->stored_bytes();
      } else {
        tally.add(tensor.view);
        facts_.bytes += tensor.view.bytes;
      }
    }
    facts_.dtypes = tally.sorted();
    facts_.tensors = static_cast<std::int64_t>(checkpoint_.tensors().size());
    facts_.shards =
        checkpoint_.gguf() != nullptr ? 1 : static_cast<std::int64_t>(checkpoint_.shards().size());
    facts_.has_index = checkpoint_.has_index();
  }

  void read_architecture() {
    facts_.architecture = "unknown architecture";
    if (checkpoint_.config().is_null()) {
      facts_.problems.emplace_back("config.json is missing");
      count_parameters_by_names();
      return;
    }
    try {
      const ResolvedModel model = resolve_model(checkpoint_);
      facts_.known = true;
      facts_.has_forward = model.arch->forward;
      facts_.config = model.config;
      facts_.architecture =
          model.config.architecture.empty() ? model.config.model_type : model.config.architecture;
      take(model);
    } catch (const Error& error) {
      facts_.problems.push_back(one_line(error));
      const auto names = checkpoint_.config().find("architectures");
      if (names != checkpoint_.config().end() && names->is_array() && !names->empty() &&
          names->front().is_string()) {
        facts_.architecture = names->front().get<std::string>();
      }
      count_parameters_by_names();
    }
  }

  void take(const ResolvedModel& model) {
    for (const ResolvedTensor& tensor : model.tensors) {
      if (tensor.stored != nullptr) {
        facts_.parameters += element_count(tensor.shape).value_or(0);
        facts_.quantised_weights += tensor.quantised ? 1 : 0;
      }
    }
    for (const ResolveProblem& problem : model.problems) {
      facts_.problems.push_back(problem_text(problem));
    }
    const bool stored = model.find(Role::kLmHead) != nullptr;
    facts_.head = !model.config.tie_word_embeddings ? CheckpointFacts::Head::kOwn
                  : stored                          ? CheckpointFacts::Head::kStoredThoughTied
                                                    : CheckpointFacts::Head::kTied;
    if (!model.buffers.empty()) {
      facts_.notes.push_back(fmt::format("{} stored buffers that readers recompute (first: {})",
                                         model.buffers.size(), model.buffers.front()->name));
    }
  }

  // Without an architecture: companions left out, two weights for each byte of bitsandbytes' packed
  // columns.
  void count_parameters_by_names() {
    std::set<std::string> packed;
    for (const StoredTensor& tensor : checkpoint_.tensors()) {
      if (const auto companion = quantised_name(canonical_name(tensor.name))) {
        packed.insert(companion->weight);
      }
    }
    facts_.quantised_weights = static_cast<std::int64_t>(packed.size());
    for (const StoredTensor& tensor : checkpoint_.tensors()) {
      const std::string name = canonical_name(tensor.name);
      if (quantised_name(name)) {
        continue;
      }
      const bool two_a_byte = packed.contains(name) && tensor.view.dtype == DType::kU8;
      facts_.parameters += tensor.view.elements() * (two_a_byte ? 2 : 1);
    }
  }

  /// Which format the codes are in, and whether it is read at all: opened once more with readers.
  void name_codes() {
    if (facts_.quantised_weights == 0 || checkpoint_.gguf() != nullptr) {
      return;
    }
    std::map<std::string, std::int64_t> formats;
    try {
      const Checkpoint decoded =
          Checkpoint::open(checkpoint_.folder(), {.require_config = false, .decode = true});
      for (const auto& tensor : decoded.quantised()) {
        ++formats[fmt::format("{} ({})", tensor->format, tensor->detail)];
      }
    } catch (const Error& error) {
      facts_.notes.push_back("the codes cannot be decoded: " + one_line(error));
    }
    for (const auto& [format, count] : formats) {
      facts_.codes.push_back({format, count});
    }
  }

  void look_at_files() {
    if (const GgufFile* gguf = checkpoint_.gguf()) {
      facts_.has_chat_template = gguf->metadata().contains("tokenizer.chat_template");
      if (gguf->metadata().contains("tokenizer.ggml.tokens")) {
        facts_.tokenizer_files.emplace_back("tokenizer.ggml");
      }
      return;
    }
    for (const FolderEntry& entry : list_folder(checkpoint_.folder(), "a model folder")) {
      if (std::find(kTokenizerFiles.begin(), kTokenizerFiles.end(), entry.name) !=
          kTokenizerFiles.end()) {
        facts_.tokenizer_files.push_back(entry.name);
      }
      facts_.has_chat_template = facts_.has_chat_template || entry.name == "chat_template.jinja" ||
                                 entry.name == "chat_template.json";
    }
    for (const std::string& stray : checkpoint_.stray_files()) {
      facts_.problems.push_back(stray + " lies beside the weights and is not part of them");
    }
  }

  void compare_with_config() {
    if (!facts_.config) {
      return;
    }
    const ModelConfig& config = *facts_.config;
    const std::string declared = safetensors_dtype(config.dtype);
    if (!declared.empty() && !facts_.dtypes.empty() && facts_.quantised_weights == 0 &&
        facts_.dtypes.front().name != declared) {
      facts_.notes.push_back(fmt::format("config.json declares {}, the weights are {}",
                                         config.dtype, facts_.dtypes.front().name));
    }
    if (!config.quant_method.empty() && facts_.quantised_weights == 0) {
      facts_.problems.push_back(
          fmt::format("config.json declares {} quantisation, the weights are not quantised",
                      config.quant_method));
    }
    if (config.quant_method.empty() && facts_.quantised_weights > 0) {
      facts_.problems.emplace_back("the weights are quantised, config.json does not say so");
    }
    if (facts_.head == CheckpointFacts::Head::kStoredThoughTied) {
      facts_.notes.emplace_back("the head is declared tied and stored as well");
    }
    if (!config.unknown_keys.empty()) {
      facts_.notes.push_back("keys of config.json that nothing here reads: " +
                             fmt::format("{}", fmt::join(config.unknown_keys, ", ")));
    }
  }

  Checkpoint checkpoint_;
  CheckpointFacts facts_;
};

// The number after the first "layers", "h", "blocks", ... of a path: the first component that is a
// number.
std::optional<std::int64_t> layer_of(std::string_view path) {
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('.'));
    const bool number =
        !part.empty() && part.size() < 10 && std::all_of(part.begin(), part.end(), [](char c) {
          return std::isdigit(static_cast<unsigned char>(c)) != 0;
        });
    if (number) {
      return std::stoll(std::string(part));
    }
    path.remove_prefix(std::min(path.size(), part.size() + 1));
  }
  return std::nullopt;
}

class AdapterInspector {
 public:
  explicit AdapterInspector(const fs::path& folder)
      : adapter_(Adapter::open(folder, {.collect_problems = true})) {
    facts_.folder = folder.string();
  }

  AdapterFacts run(const std::optional<fs::path>& base) {
    take_config();
    take_tensors();
    take_modules();
    take_replacements();
    for (const ErrorParts& problem : adapter_.problems()) {
      facts_.problems.push_back(problem.what + " (" + problem.where + ")");
    }
    for (const std::string& name : adapter_.unrecognised()) {
      facts_.problems.push_back(name + " fits no name that " +
                                (adapter_.is_gguf() ? "llama.cpp reads" : "PEFT writes"));
    }
    if (base) {
      take_base(*base);
    }
    return std::move(facts_);
  }

 private:
  void take_config() {
    const AdapterConfig& config = adapter_.config();
    facts_.base_model = config.base_model_name_or_path;
    facts_.peft_version = config.peft_version;
    facts_.alpha = config.lora_alpha;
    facts_.rslora = config.use_rslora;
    facts_.dora = config.use_dora;
    facts_.lora_bias = config.lora_bias;
    facts_.init = config.init_lora_weights;
    if (config.init_changes_base) {
      facts_.problems.push_back(
          fmt::format("init_lora_weights = {} changes the base when training starts: the adapter "
                      "is relative to that base",
                      config.init_lora_weights));
    }
    for (const std::string& feature : config.unsupported) {
      facts_.problems.push_back("not supported: " + feature);
    }
    if (!config.unknown_keys.empty()) {
      facts_.notes.push_back("keys of adapter_config.json that nothing here reads: " +
                             fmt::format("{}", fmt::join(config.unknown_keys, ", ")));
    }
  }

  void take_tensors() {
    DTypeTally tally;
    for (const AdapterTensor& tensor : adapter_.tensors()) {
      tally.add(tensor.dtype, static_cast<std::size_t>(tensor.bytes));
      facts_.bytes += tensor.bytes;
      facts_.parameters += tensor.elements;
    }
    facts_.dtypes = tally.sorted();
  }

  void take_modules() {
    std::set<std::int64_t> ranks;
    std::set<double> scales;
    std::set<std::int64_t> layers;
    std::map<std::string, std::int64_t> targets;
    for (const AdapterModule& module : adapter_.modules()) {
      ranks.insert(module.rank);
      scales.insert(module.scale);
      ++targets[std::string(last_component(module.module))];
      if (const std::optional<std::int64_t> layer = layer_of(module.module);
          layer && !canonical_name(module.module).starts_with("visual.")) {
        layers.insert(*layer);
      }
    }
    facts_.modules = static_cast<std::int64_t>(adapter_.modules().size());
    facts_.ranks.assign(ranks.begin(), ranks.end());
    facts_.scales.assign(scales.begin(), scales.end());
    facts_.layers = static_cast<std::int64_t>(layers.size());
    if (!layers.empty()) {
      facts_.layers_of = *layers.rbegin() + 1;
    }
    for (const auto& [module, count] : targets) {
      facts_.targets.push_back({module, count});
    }
    std::stable_sort(
        facts_.targets.begin(), facts_.targets.end(),
        [](const TargetCount& left, const TargetCount& right) { return left.count > right.count; });
  }

  void take_replacements() {
    for (const AdapterReplacement& replacement : adapter_.replacements()) {
      if (replacement.base_copy) {
        ++facts_.base_copies;
      } else if (!replacement.rows.empty()) {
        facts_.trained_token_rows += static_cast<std::int64_t>(replacement.rows.size());
      } else {
        facts_.replaced.push_back(replacement.name);
      }
    }
  }

  void take_base(const fs::path& folder) {
    const Checkpoint base = Checkpoint::open(folder);
    const AttachedAdapter attached = attach(adapter_, base);
    for (const std::string& name : attached.unreached) {
      facts_.problems.push_back(name + " reaches no tensor of the base");
    }
    facts_.problems.insert(facts_.problems.end(), attached.problems.begin(),
                           attached.problems.end());
    facts_.problems.insert(facts_.problems.end(), attached.surprises.begin(),
                           attached.surprises.end());
    try {
      facts_.layers_of = resolve_model(base).config.num_hidden_layers;
      facts_.layers_of_base = true;
    } catch (const Error& error) {
      facts_.notes.push_back("the base: " + one_line(error));
    }
  }

  Adapter adapter_;
  AdapterFacts facts_;
};

}  // namespace

FolderFacts inspect_folder(const fs::path& folder, const std::optional<fs::path>& base) {
  if (is_gguf_adapter(folder)) {
    return {.checkpoint = {}, .adapter = AdapterInspector(folder).run(base)};
  }
  if (folder.extension() == ".gguf" && fs::is_regular_file(folder)) {
    return {.checkpoint = CheckpointInspector(folder).run(), .adapter = {}};
  }
  bool adapter = false;
  bool weights = false;
  for (const FolderEntry& entry : list_folder(folder, "a model or adapter folder")) {
    adapter = adapter || entry.name.starts_with("adapter_config.json") ||
              entry.name.starts_with("adapter_model.");
    weights = weights || entry.kind == FileKind::kSafetensors || entry.name == "config.json";
  }
  FolderFacts facts;
  if (weights || !adapter) {
    facts.checkpoint = CheckpointInspector(folder).run();
  }
  if (adapter) {
    facts.adapter = AdapterInspector(folder).run(base);
  }
  if (facts.checkpoint && facts.adapter) {
    facts.checkpoint->problems.emplace_back(
        "an adapter lies beside the weights: loaders attach it again (F17)");
  }
  return facts;
}

}  // namespace mg
