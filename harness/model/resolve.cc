#include "harness/model/resolve.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/model/names.h"
#include "harness/model/quantised_names.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

// A config can ask for more tensors than any file holds; stop before the list itself is the
// problem.
constexpr std::int64_t kMostTensors = 1'000'000;

std::uint64_t role_key(Role role, std::int64_t layer, std::int64_t expert) {
  return (static_cast<std::uint64_t>(role) << 56U) ^
         (static_cast<std::uint64_t>(layer + 1) << 28U) ^ static_cast<std::uint64_t>(expert + 1);
}

std::string fill(std::string_view pattern, std::string_view hole, std::int64_t number) {
  std::string name(pattern);
  const std::size_t at = name.find(hole);
  if (at != std::string::npos) {
    name.replace(at, hole.size(), std::to_string(number));
  }
  return name;
}

/// The numbers that a rule's innermost hole takes; one, and no hole, for most.
struct Members {
  std::string_view hole;
  NumberRange range = {0, 1};

  std::int64_t count() const { return std::max<std::int64_t>(0, range.end - range.first); }
};

bool has_hole(const TensorRule& rule, std::string_view hole) {
  return rule.name.find(hole) != std::string_view::npos;
}

class Expectation {
 public:
  Expectation(const ArchSpec& arch, const ModelConfig& config) : arch_(arch), config_(config) {}

  std::vector<ResolvedTensor> list() {
    check_count();
    for (const TensorRule& rule : arch_.rules) {
      if (!has_hole(rule, "{l}") && !has_hole(rule, "{v}")) {
        add(rule, -1);
      }
    }
    const std::int64_t blocks = config_.vision ? config_.vision->depth : 0;
    for (std::int64_t v = 0; v < blocks; ++v) {
      for (const TensorRule& rule : arch_.rules) {
        if (has_hole(rule, "{v}")) {
          add(rule, v);
        }
      }
    }
    for (std::int64_t l = 0; l < config_.num_hidden_layers; ++l) {
      for (const TensorRule& rule : arch_.rules) {
        if (has_hole(rule, "{l}")) {
          add(rule, l);
        }
      }
    }
    return std::move(tensors_);
  }

 private:
  void check_count() const {
    std::int64_t count = 0;
    for (const TensorRule& rule : arch_.rules) {
      const std::int64_t times = has_hole(rule, "{l}") ? config_.num_hidden_layers
                                 : has_hole(rule, "{v}")
                                     ? config_.vision.value_or(VisionConfig{}).depth
                                     : 1;
      // Layers, experts, blocks and other numbers are at most 4096 each: no overflow.
      count += times * members(rule).count();
    }
    if (count > kMostTensors) {
      throw Error({.code = "config.out-of-range",
                   .what = "the config asks for more tensors than any checkpoint has",
                   .where = "config.json",
                   .expected = "at most " + std::to_string(kMostTensors) + " tensors",
                   .actual = std::to_string(count),
                   .hint = "take config.json from the base model"});
    }
  }

  void add(const TensorRule& rule, std::int64_t layer) {
    if (rule.present != nullptr && !rule.present(config_, layer)) {
      return;
    }
    const bool tower = has_hole(rule, "{v}");
    const std::string name = fill(rule.name, tower ? "{v}" : "{l}", layer);
    const Members numbers = members(rule);
    const Shape shape = shape_of(rule, config_);
    for (std::int64_t n = numbers.range.first; n < numbers.range.end; ++n) {
      ResolvedTensor& tensor = tensors_.emplace_back();
      tensor.rule = &rule;
      tensor.layer = tower ? config_.num_hidden_layers + layer : layer;
      tensor.expert = numbers.hole.empty() ? -1 : n;
      tensor.expected_name = numbers.hole.empty() ? name : fill(name, numbers.hole, n);
      tensor.shape = shape;
    }
  }

  Members members(const TensorRule& rule) const {
    if (has_hole(rule, "{e}")) {
      return {"{e}", {0, config_.num_experts}};
    }
    return rule.numbers != nullptr ? Members{"{n}", rule.numbers(config_)} : Members{};
  }

  const ArchSpec& arch_;
  const ModelConfig& config_;
  std::vector<ResolvedTensor> tensors_;
};

// The stored tensors by canonical name, and which of them a rule has claimed.
class Names {
 public:
  Names(const Checkpoint& checkpoint, std::vector<ResolveProblem>& problems) {
    for (const StoredTensor& tensor : checkpoint.tensors()) {
      const auto [it, fresh] = by_name_.emplace(canonical_name(tensor.name), &tensor);
      if (!fresh) {
        problems.push_back({.kind = ResolveProblem::Kind::kCollision,
                            .name = tensor.name,
                            .expected = "one tensor for " + it->first,
                            .actual = "also stored as " + it->second->name});
      }
    }
    for (const auto& [name, tensor] : by_name_) {
      if (std::optional<QuantisedName> quantised = quantised_name(name)) {
        quantised_[quantised->weight].push_back({name, quantised->codes});
      }
    }
  }

  const StoredTensor* stored(const std::string& name) const {
    const auto it = by_name_.find(name);
    return it == by_name_.end() ? nullptr : it->second;
  }

  struct Companion {
    std::string name;
    bool codes;
  };
  /// The companions of a weight.  A tensor that a rule asks for by name is nobody's companion.
  const std::vector<Companion>* companions(const std::string& weight) const {
    const auto it = quantised_.find(weight);
    return it == quantised_.end() ? nullptr : &it->second;
  }

 private:
  std::unordered_map<std::string, const StoredTensor*> by_name_;
  std::unordered_map<std::string, std::vector<Companion>> quantised_;
};

// bitsandbytes stores a 4-bit weight as a column (or row) of bytes, two codes a byte.
bool is_packed_column(const StoredTensor& tensor, const Shape& logical) {
  const std::optional<std::int64_t> count = element_count(logical);
  return count && tensor.view.shape.size() == 2 &&
         std::min(tensor.view.dim(0), tensor.view.dim(1)) == 1 &&
         element_count(tensor.view.shape) == (*count + 1) / 2;
}

class Resolver {
 public:
  Resolver(const Checkpoint& checkpoint, ResolvedModel& model)
      : checkpoint_(checkpoint), model_(model), names_(checkpoint, model.problems) {}

  void run() {
    choose_expert_form();
    model_.tensors = expected_tensors(*model_.arch, model_.config);
    for (ResolvedTensor& tensor : model_.tensors) {
      resolve(tensor);
    }
    collect_unclaimed();
    for (std::size_t i = 0; i < model_.tensors.size(); ++i) {
      const ResolvedTensor& tensor = model_.tensors[i];
      model_.by_role.emplace(role_key(tensor.rule->role, tensor.layer, tensor.expert), i);
      model_.by_name.emplace(tensor.expected_name, i);
    }
    if (const ResolvedTensor* embedding = model_.find(Role::kEmbedTokens);
        embedding != nullptr && embedding->stored != nullptr &&
        model_.config.embedding_scale != 1.0) {
      model_.config.embedding_scale =
          embedding_scale_for(model_.config.hidden_size, embedding->stored->view.dtype);
    }
  }

 private:
  // All experts of a layer in one tensor, or one by one: the names say.
  void choose_expert_form() {
    for (const TensorRule& rule : model_.arch->rules) {
      if (rule.role != Role::kExpertsGateUpProj) {
        continue;
      }
      for (std::int64_t l = 0; l < model_.config.num_hidden_layers; ++l) {
        if (model_.config.layers[static_cast<std::size_t>(l)].moe) {
          model_.config.packed_experts = find_stored(fill(rule.name, "{l}", l)) != nullptr;
          return;
        }
      }
    }
  }

  /// The name under which `expected` is found: as it is, or without the backbone's prefix; else
  /// empty.
  std::string found_name(const std::string& expected) const {
    for (const std::string& name : {expected, bare(expected)}) {
      if (!name.empty() && (names_.stored(name) != nullptr || names_.companions(name) != nullptr)) {
        return name;
      }
    }
    return {};
  }

  std::string bare(const std::string& name) const {
    const std::string_view prefix = model_.arch->base_prefix;
    return !prefix.empty() && name.starts_with(prefix) ? name.substr(prefix.size()) : std::string();
  }

  const StoredTensor* find_stored(const std::string& expected) const {
    const std::string name = found_name(expected);
    return name.empty() ? nullptr : names_.stored(name);
  }

  void resolve(ResolvedTensor& tensor) {
    const std::string name = found_name(tensor.expected_name);
    bool codes = false;
    tensor.stored = name.empty() ? nullptr : names_.stored(name);
    claim(tensor.stored);
    if (const std::vector<Names::Companion>* companions = names_.companions(name)) {
      tensor.quantised = true;
      for (const Names::Companion& companion : *companions) {
        const StoredTensor* stored = names_.stored(companion.name);
        if (companion.codes && tensor.stored == nullptr) {
          tensor.stored = stored;
          codes = true;
          claim(stored);
        } else if (claim(stored)) {
          model_.companions.push_back(stored);
        }
      }
    }
    if (tensor.stored == nullptr) {
      if (!tensor.rule->optional) {
        model_.problems.push_back({.kind = ResolveProblem::Kind::kMissing,
                                   .name = tensor.expected_name,
                                   .expected = to_string(tensor.shape),
                                   .actual = tensor.quantised ? "only its companions" : "absent"});
      }
      return;
    }
    // Codes under a name of their own (GPTQ, MXFP4) have shapes of their own: checked by who
    // decodes them.
    if (!codes) {
      check_shape(tensor);
    }
  }

  void check_shape(const ResolvedTensor& tensor) {
    const Shape& actual = tensor.stored->view.shape;
    if (actual == tensor.shape || actual == other_shape_of(*tensor.rule, model_.config)) {
      return;
    }
    if (tensor.quantised && is_packed_column(*tensor.stored, tensor.shape)) {
      return;
    }
    model_.problems.push_back({.kind = ResolveProblem::Kind::kShape,
                               .name = tensor.stored->name,
                               .expected = to_string(tensor.shape),
                               .actual = to_string(actual)});
  }

  bool is_buffer(const std::string& name) const {
    return std::any_of(model_.arch->buffers.begin(), model_.arch->buffers.end(),
                       [&name](std::string_view suffix) { return name.ends_with(suffix); });
  }

  bool is_spare(const std::string& name) const {
    return model_.arch->spare != nullptr && model_.arch->spare(model_.config, canonical_name(name));
  }

  void collect_unclaimed() {
    for (const StoredTensor& tensor : checkpoint_.tensors()) {
      if (claimed_.contains(&tensor)) {
        continue;
      }
      if (is_buffer(tensor.name) || is_spare(tensor.name)) {
        model_.buffers.push_back(&tensor);
        continue;
      }
      model_.problems.push_back(
          {.kind = ResolveProblem::Kind::kUnclaimed,
           .name = tensor.name,
           .expected = "no such tensor in " + std::string(model_.arch->model_type),
           .actual = to_string(tensor.view.shape)});
    }
  }

  bool claim(const StoredTensor* tensor) {
    return tensor != nullptr && claimed_.insert(tensor).second;
  }

  const Checkpoint& checkpoint_;
  ResolvedModel& model_;
  Names names_;
  std::set<const StoredTensor*> claimed_;
};

std::string_view kind_text(ResolveProblem::Kind kind) {
  switch (kind) {
    case ResolveProblem::Kind::kMissing:
      return "missing";
    case ResolveProblem::Kind::kShape:
      return "wrong shape";
    case ResolveProblem::Kind::kUnclaimed:
      return "not asked for";
    case ResolveProblem::Kind::kCollision:
      return "stored twice";
  }
  return "";
}

}  // namespace

std::vector<ResolvedTensor> expected_tensors(const ArchSpec& arch, const ModelConfig& config) {
  return Expectation(arch, config).list();
}

const ResolvedTensor* ResolvedModel::find(Role role, std::int64_t layer,
                                          std::int64_t expert) const {
  const auto it = by_role.find(role_key(role, layer, expert));
  return it == by_role.end() || tensors[it->second].stored == nullptr ? nullptr
                                                                      : &tensors[it->second];
}

const ResolvedTensor* ResolvedModel::find(std::string_view expected_name) const {
  const auto it = by_name.find(std::string(expected_name));
  return it == by_name.end() ? nullptr : &tensors[it->second];
}

const ResolvedTensor* ResolvedModel::head() const {
  const ResolvedTensor* stored = find(Role::kLmHead);
  return stored == nullptr && config.tie_word_embeddings ? find(Role::kEmbedTokens) : stored;
}

void ResolvedModel::require_complete(const Checkpoint& checkpoint) const {
  if (problems.empty()) {
    return;
  }
  std::string list;
  for (const ResolveProblem& problem : problems) {
    list += list.empty() ? "" : "; ";
    list += problem.name + " " + std::string(kind_text(problem.kind));
    if (problem.kind == ResolveProblem::Kind::kShape) {
      list += ", expected " + problem.expected + ", stored " + problem.actual;
    }
  }
  throw Error({.code = "checkpoint.tensors",
               .what = std::to_string(problems.size()) +
                       (problems.size() == 1 ? " tensor disagrees" : " tensors disagree") +
                       " with config.json (" + config.model_type + ")",
               .where = checkpoint.folder().string(),
               .expected = "every tensor the architecture asks for and no other",
               .actual = list,
               .hint = "`mergegauge lint " + checkpoint.folder().string() + "` names the cause"});
}

ResolvedModel resolve_model(const Checkpoint& checkpoint) {
  ResolvedModel model;
  const std::string file = (checkpoint.folder() / "config.json").string();
  model.arch = &find_architecture(checkpoint.config(), file);
  model.config = model.arch->read_config(checkpoint.config(), file);
  Resolver(checkpoint, model).run();
  return model;
}

}  // namespace mg
