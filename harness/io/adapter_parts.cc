#include "harness/io/adapter_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "harness/io/adapter_match.h"
#include "harness/io/adapter_names.h"

namespace mg {
namespace {

struct Named {
  TensorView view;
  std::string raw;
};

struct Pair {
  std::optional<Named> a;
  std::optional<Named> b;
  std::optional<Named> bias;
  std::optional<Named> magnitude;
  bool embedding = false;
};

struct PairKey {
  std::string module;
  int nesting = 0;
  auto operator<=>(const PairKey&) const = default;
};

// Parameters of fused experts in the order in which the library's modules register, and PEFT
// therefore wraps, them. Others keep the alphabet's order, which PEFT itself sorts the targets by.
int registration_order(std::string_view parameter) {
  constexpr std::array<std::string_view, 10> kOrder = {
      "gate_up_proj", "gate_up_proj_bias", "gate_proj",      "up_proj", "w1", "w2",
      "w3",           "down_proj",         "down_proj_bias", "weight"};
  return static_cast<int>(std::find(kOrder.begin(), kOrder.end(), parameter) - kOrder.begin());
}

// The parameters of `module` that target_parameters names, innermost wrap first.
std::vector<std::string> targeted_parameters(const AdapterConfig& config,
                                             const std::string& module) {
  std::vector<std::string> names;
  for (const std::string& target : config.target_parameters) {
    const std::size_t dot = target.rfind('.');
    const std::string last = dot == std::string::npos ? target : target.substr(dot + 1);
    const std::string full = module + "." + last;
    if (ends_with_component(full, target) &&
        std::find(names.begin(), names.end(), full) == names.end()) {
      names.push_back(full);
    }
  }
  std::sort(names.begin(), names.end(), [](const std::string& left, const std::string& right) {
    const auto rank = [](const std::string& name) {
      return std::pair(registration_order(std::string_view(name).substr(name.rfind('.') + 1)),
                       name);
    };
    return rank(left) < rank(right);
  });
  return names;
}

class Collector {
 public:
  Collector(const AdapterConfig& config, const SafetensorsFile& file)
      : config_(config), file_(file), matcher_(config) {}

  AdapterParts collect();

 private:
  void problem(std::string code, std::string what, std::string_view tensor, std::string expected,
               std::string actual, std::string hint);
  bool find_adapter_name();
  bool check_tensor(const SafetensorsRecord& record, AdapterPart part);
  void sort_in(const SafetensorsRecord& record);
  void put(std::optional<Named>& slot, Named named);
  void add_replacement(const AdapterName& name, Named named);
  void add_token_rows(const AdapterName& name, Named named);
  void finish_pairs();
  void finish_pair(const PairKey& key, const Pair& pair, int nesting_depth);
  bool name_parameter(const PairKey& key, int depth, AdapterModule& module);
  bool check_rank(const Pair& pair, AdapterModule& module);
  void check_magnitude(const Pair& pair, AdapterModule& module);
  void check_bias(const Pair& pair, AdapterModule& module);
  std::string rank_hint(const std::string& module, std::int64_t rows) const;
  void finish_replacements();
  void check_anything_found();

  const AdapterConfig& config_;
  const SafetensorsFile& file_;
  ModuleMatcher matcher_;
  AdapterParts parts_;
  std::map<PairKey, Pair> pairs_;
  std::set<PairKey> damaged_;  // a part was refused, so that its absence is no second problem
};

void Collector::problem(std::string code, std::string what, std::string_view tensor,
                        std::string expected, std::string actual, std::string hint) {
  parts_.problems.push_back({.code = "adapter." + std::move(code),
                             .what = std::move(what),
                             .where = tensor.empty()
                                          ? file_.path().string()
                                          : fmt::format("{}, {}", file_.path().string(), tensor),
                             .expected = std::move(expected),
                             .actual = std::move(actual),
                             .hint = std::move(hint)});
}

// False, with a problem, where tensors of several adapters would have to be told apart.
bool Collector::find_adapter_name() {
  std::set<std::string> names;
  for (const SafetensorsRecord& record : file_.header().records) {
    const AdapterName name = read_adapter_name(record.name);
    if (!name.adapter_name.empty()) {
      names.insert(name.adapter_name);
    }
  }
  if (names.size() == 1) {
    parts_.name_in_file = *names.begin();
  }
  if (names.size() > 1) {
    problem(
        "several-adapters", "the file holds more than one adapter", "", "one adapter's name",
        fmt::format("{}", fmt::join(names, ", ")),
        "save each adapter to a folder of its own: save_pretrained(..., selected_adapters=[...])");
  }
  return names.size() <= 1;
}

void Collector::put(std::optional<Named>& slot, Named named) {
  if (slot) {
    problem("duplicate", "two tensors stand for the same part of the adapter", named.raw,
            "one of them", slot->raw, "delete the older one");
    return;
  }
  slot = std::move(named);
}

// What makes a tensor useless whatever the config says; false with a problem.
bool Collector::check_tensor(const SafetensorsRecord& record, AdapterPart part) {
  if (part == AdapterPart::kUnrecognised || part == AdapterPart::kWrapped ||
      part == AdapterPart::kOriginal) {
    return true;  // a copy of the base's may be whatever the base is, quantised for one
  }
  if (element_count(record.shape).value_or(0) == 0) {
    problem("empty-tensor", "a tensor of the adapter is empty", record.name, "at least one element",
            to_string(record.shape),
            "DeepSpeed ZeRO-3 or FSDP saved it without gathering the weights: save again with them "
            "gathered");
    return false;
  }
  // A module saved whole may hold integer buffers.
  if (part != AdapterPart::kReplacement && !is_float(record.dtype)) {
    problem("dtype", "a tensor of the adapter is not floating point", record.name,
            "F32, BF16 or F16", std::string(dtype_name(record.dtype)),
            "save the adapter without quantising it");
    return false;
  }
  return true;
}

void Collector::sort_in(const SafetensorsRecord& record) {
  const std::string_view adapter_name =
      parts_.name_in_file.empty() ? std::string_view("default") : parts_.name_in_file;
  const AdapterName name = read_adapter_name(record.name, adapter_name);
  const PairKey key{name.module, name.nesting};
  if (!check_tensor(record, name.part)) {
    damaged_.insert(key);
    return;
  }
  Named named{file_.view(record), record.name};
  switch (name.part) {
    case AdapterPart::kA:
      pairs_[key].embedding = name.embedding;
      return put(pairs_[key].a, std::move(named));
    case AdapterPart::kB:
      return put(pairs_[key].b, std::move(named));
    case AdapterPart::kBias:
      return put(pairs_[key].bias, std::move(named));
    case AdapterPart::kMagnitude:
      return put(pairs_[key].magnitude, std::move(named));
    case AdapterPart::kTokenRows:
      return add_token_rows(name, std::move(named));
    case AdapterPart::kReplacement:
    case AdapterPart::kWrapped:
    case AdapterPart::kOriginal:
      return add_replacement(name, std::move(named));
    case AdapterPart::kUnrecognised:
      parts_.unrecognised.push_back(record.name);
      return;
  }
}

void Collector::add_replacement(const AdapterName& name, Named named) {
  const std::size_t dot = name.module.rfind('.');
  const std::string_view parameter = std::string_view(name.module).substr(dot + 1);
  const std::string_view module = std::string_view(name.module).substr(0, dot);
  const bool known = parameter == "weight" || parameter == "bias" ||
                     name.part == AdapterPart::kWrapped || matcher_.is_saved_whole(module);
  if (!known) {
    parts_.unrecognised.push_back(named.raw);
    return;
  }
  // bias = "all" or "lora_only" trains the wrapped layer's own bias; the weight beside it stays the
  // base's.
  const bool trained_bias = parameter == "bias" && config_.bias != "none";
  const bool copy =
      name.part == AdapterPart::kOriginal || (name.part == AdapterPart::kWrapped && !trained_bias);
  parts_.replacements.push_back({.name = name.module,
                                 .value = std::move(named.view),
                                 .rows = {},
                                 .base_copy = copy,
                                 .raw_name = std::move(named.raw)});
}

void Collector::add_token_rows(const AdapterName& name, Named named) {
  const auto& entries = config_.trainable_token_indices;
  const auto it = std::find_if(entries.begin(), entries.end(), [&](const auto& entry) {
    return config_.trainable_tokens_of_input || ends_with_component(name.module, entry.first);
  });
  if (it == entries.end()) {
    problem("trainable-tokens", "rows of trained tokens without their token ids", named.raw,
            "an entry for this module in trainable_token_indices", "none",
            "the ids stand in the training run's LoraConfig: write them into adapter_config.json");
    return;
  }
  const std::int64_t rows = named.view.dim(0);
  if (named.view.shape.size() != 2 || rows != static_cast<std::int64_t>(it->second.size())) {
    problem("trainable-tokens", "trained token rows and their ids differ in number", named.raw,
            fmt::format("[{}, hidden size]", it->second.size()), to_string(named.view.shape),
            "adapter_config.json and adapter_model.safetensors are of different runs");
    return;
  }
  parts_.replacements.push_back({.name = name.module + ".weight",
                                 .value = std::move(named.view),
                                 .rows = it->second,
                                 .base_copy = false,
                                 .raw_name = std::move(named.raw)});
}

// Which parameter a pair of target_parameters adapts: the k-th wrap from inside is the k-th
// registered parameter.
bool Collector::name_parameter(const PairKey& key, int depth, AdapterModule& module) {
  module.parameter_candidates = targeted_parameters(config_, key.module);
  module.nesting = key.nesting;
  const auto count = static_cast<int>(module.parameter_candidates.size());
  if (count != depth) {
    problem(
        "target-parameters", "nested pairs do not fit target_parameters", module.raw_name,
        fmt::format("{} pair(s), one for each of {}", count,
                    count == 0 ? std::string("no parameter")
                               : fmt::format("{}", fmt::join(module.parameter_candidates, ", "))),
        fmt::format("{} pair(s)", depth),
        "adapter_config.json and adapter_model.safetensors are of different runs");
    return false;
  }
  module.module = module.parameter_candidates[static_cast<std::size_t>(depth - 1 - key.nesting)];
  return true;
}

std::string Collector::rank_hint(const std::string& module, std::int64_t rows) const {
  const std::string leaf = module.substr(module.rfind('.') + 1);
  const bool patterned = matcher_.rank_and_alpha(module).first != config_.r;
  return patterned ? fmt::format(
                         "an entry of rank_pattern matches this module; re-export the adapter or "
                         "correct the entry to {}",
                         rows)
                   : fmt::format(
                         "rank_pattern has no entry for this module; re-export the adapter or add "
                         "\"{}\": {}",
                         leaf, rows);
}

bool Collector::check_rank(const Pair& pair, AdapterModule& module) {
  const Shape& a = pair.a->view.shape;
  const Shape& b = pair.b->view.shape;
  if (a.size() < 2 || b.size() < 2) {
    const bool first = a.size() < 2;
    problem("shape", "a low-rank factor has fewer than two dimensions",
            first ? pair.a->raw : pair.b->raw, "two dimensions", to_string(first ? a : b),
            "FSDP or ZeRO-3 saved it flattened: save again with the weights gathered");
    return false;
  }
  const std::int64_t rows = a[0];
  const bool experts = module.kind == LowRankKind::kParameter;
  if (experts ? rows % module.rank != 0 : rows != module.rank) {
    Shape expected = a;
    expected[0] = module.rank;
    problem("rank-mismatch",
            fmt::format("{} has rank {}, adapter_config.json says {} = {}",
                        module.kind == LowRankKind::kEmbedding ? "lora_embedding_A" : "lora_A",
                        rows, module.rank == config_.r ? "r" : "rank_pattern", module.rank),
            pair.a->raw,
            experts ? fmt::format("a multiple of {} rows", module.rank) : to_string(expected),
            to_string(a), rank_hint(module.module, rows));
    return false;
  }
  if (b[1] != rows) {
    Shape expected = b;
    expected[1] = rows;
    problem("rank-mismatch", "A and B of a module have different ranks", pair.b->raw,
            to_string(expected), to_string(b),
            "the two factors are of different runs: re-export the adapter");
    return false;
  }
  return true;
}

void Collector::check_magnitude(const Pair& pair, AdapterModule& module) {
  if (!config_.use_dora) {
    if (pair.magnitude) {
      problem("dora", "a DoRA magnitude although use_dora is false", pair.magnitude->raw,
              "no lora_magnitude_vector, or use_dora: true", "a magnitude",
              "PEFT would ignore it and compute plain LoRA: set use_dora to what was trained");
    }
    return;
  }
  if (!pair.magnitude) {
    problem("dora", "use_dora is true, and the module has no magnitude", module.raw_name,
            "a lora_magnitude_vector beside it", "none",
            "the export dropped it: save the adapter again with PEFT's save_pretrained");
    return;
  }
  const std::int64_t outputs = pair.b->view.dim(0);
  if (pair.magnitude->view.elements() != outputs) {
    problem("dora", "the magnitude's length is not the module's output size", pair.magnitude->raw,
            fmt::format("[{}]", outputs), to_string(pair.magnitude->view.shape),
            "the two are of different runs: re-export the adapter");
    return;
  }
  module.magnitude = pair.magnitude->view;
}

void Collector::check_bias(const Pair& pair, AdapterModule& module) {
  if (config_.lora_bias && !pair.bias && module.kind == LowRankKind::kLinear) {
    problem("lora-bias", "lora_bias is true, and the module has no lora_B.bias", module.raw_name,
            "a lora_B.bias beside it", "none",
            "the export dropped it: save the adapter again with PEFT's save_pretrained");
    return;
  }
  if (!pair.bias) {
    return;
  }
  if (!config_.lora_bias) {
    problem("lora-bias", "a lora_B.bias although lora_bias is false", pair.bias->raw,
            "no lora_B.bias, or lora_bias: true", "a bias",
            "PEFT would ignore it: set lora_bias to what was trained");
    return;
  }
  if (pair.bias->view.elements() != pair.b->view.dim(0)) {
    problem("lora-bias", "the bias of lora_B has another length than its rows", pair.bias->raw,
            fmt::format("[{}]", pair.b->view.dim(0)), to_string(pair.bias->view.shape),
            "the two are of different runs: re-export the adapter");
    return;
  }
  module.bias = pair.bias->view;
}

void Collector::finish_pair(const PairKey& key, const Pair& pair, int nesting_depth) {
  if (damaged_.contains(key)) {
    return;
  }
  if (!pair.a || !pair.b) {
    const std::string& raw = pair.a           ? pair.a->raw
                             : pair.b         ? pair.b->raw
                             : pair.magnitude ? pair.magnitude->raw
                                              : pair.bias->raw;
    problem("unpaired", "a low-rank pair is not complete", raw, "lora_A and lora_B of the module",
            pair.a   ? "no B"
            : pair.b ? "no A"
                     : "neither",
            "the file was cut or filtered: save the adapter again with PEFT's save_pretrained");
    return;
  }
  AdapterModule module;
  module.module = key.module;
  module.raw_name = pair.a->raw;
  module.a = pair.a->view;
  module.b = pair.b->view;
  const bool parameter =
      nesting_depth > 1 || key.nesting > 0 ||
      (!targeted_parameters(config_, key.module).empty() && !matcher_.is_targeted(key.module));
  module.kind = pair.embedding              ? LowRankKind::kEmbedding
                : parameter                 ? LowRankKind::kParameter
                : module.a.shape.size() > 2 ? LowRankKind::kConv
                                            : LowRankKind::kLinear;
  if (parameter && !name_parameter(key, nesting_depth, module)) {
    return;
  }
  std::tie(module.rank, module.alpha) = matcher_.rank_and_alpha(module.module);
  const auto rank = static_cast<double>(module.rank);
  module.scale = module.alpha / (config_.use_rslora ? std::sqrt(rank) : rank);
  if (!check_rank(pair, module)) {
    return;
  }
  check_magnitude(pair, module);
  check_bias(pair, module);
  parts_.modules.push_back(std::move(module));
}

void Collector::finish_pairs() {
  std::map<std::string_view, int> depth;
  for (const auto& [key, pair] : pairs_) {
    ++depth[key.module];
  }
  for (const auto& [key, pair] : pairs_) {
    finish_pair(key, pair, depth[key.module]);
  }
  std::sort(parts_.modules.begin(), parts_.modules.end(),
            [](const AdapterModule& left, const AdapterModule& right) {
              return left.module < right.module;
            });
}

// Old PEFT saved an embedding with LoRA under its plain name; newer versions read that name as no
// tensor of the model.
void Collector::finish_replacements() {
  for (AdapterReplacement& replacement : parts_.replacements) {
    const std::size_t dot = replacement.name.rfind('.');
    const bool weight = replacement.name.substr(dot + 1) == "weight";
    if (weight && replacement.rows.empty() &&
        pairs_.contains(PairKey{replacement.name.substr(0, dot), 0})) {
      replacement.base_copy = true;
    }
  }
  std::sort(parts_.replacements.begin(), parts_.replacements.end(),
            [](const AdapterReplacement& left, const AdapterReplacement& right) {
              return std::tie(left.name, left.raw_name) < std::tie(right.name, right.raw_name);
            });
}

void Collector::check_anything_found() {
  if (!pairs_.empty() || !parts_.replacements.empty() || !parts_.problems.empty()) {
    return;
  }
  const std::vector<std::string>& names = parts_.unrecognised;
  const auto lora = std::find_if(names.begin(), names.end(), [](const std::string& name) {
    return name.find("lora_A") != std::string::npos;
  });
  if (lora != names.end()) {
    problem("names", "the tensors' names do not start as PEFT's do", *lora, "base_model.model....",
            fmt::format("{} names without it", names.size()),
            "PEFT would load none of them and answer as the base does: rename them, or convert the "
            "adapter with the tool that wrote it");
    return;
  }
  problem("no-lora", "the file holds no LoRA tensors", names.empty() ? "" : names.front(),
          "base_model.model.<module>.lora_A.weight",
          names.empty() ? "no tensors" : fmt::format("{} other names", names.size()),
          "this is not the weights file of a PEFT LoRA");
}

AdapterParts Collector::collect() {
  if (!find_adapter_name()) {
    return std::move(parts_);
  }
  for (const SafetensorsRecord& record : file_.header().records) {
    sort_in(record);
  }
  finish_pairs();
  finish_replacements();
  check_anything_found();
  std::sort(parts_.unrecognised.begin(), parts_.unrecognised.end());
  return std::move(parts_);
}

}  // namespace

AdapterParts collect_parts(const AdapterConfig& config, const SafetensorsFile& file) {
  return Collector(config, file).collect();
}

}  // namespace mg
