#include "harness/model/base_index.h"

#include <algorithm>
#include <array>

#include "harness/model/names.h"
#include "harness/model/quantised_names.h"

namespace mg {
namespace {

constexpr std::string_view kWeight = ".weight";

constexpr auto kTokenEmbeddings =
    std::to_array<std::string_view>({"embed_tokens", "wte", "word_embeddings"});
constexpr auto kOtherEmbeddings =
    std::to_array<std::string_view>({"wpe", "embed_positions", "position_embeddings"});

template <typename List>
bool contains(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

}  // namespace

std::string_view last_component(std::string_view path) {
  return path.substr(path.rfind('.') + 1);
}

bool is_embedding_module(std::string_view module) {
  const std::string_view leaf = last_component(module);
  return contains(kTokenEmbeddings, leaf) || contains(kOtherEmbeddings, leaf);
}

BaseIndex::BaseIndex(const Checkpoint& base) {
  for (const StoredTensor& tensor : base.tensors()) {
    const std::string name = canonical_name(tensor.name);
    const std::optional<QuantisedName> quantised = quantised_name(name);
    if (!quantised) {
      by_name_[name].stored = &tensor;
      continue;
    }
    Weight& weight = by_name_[quantised->weight];
    weight.quantised = true;
    if (quantised->codes && weight.stored == nullptr) {
      weight.stored = &tensor;
    }
  }
  std::erase_if(by_name_, [](const auto& entry) { return entry.second.stored == nullptr; });
  for (const auto& [name, weight] : by_name_) {
    by_bare_.emplace(bare(name), name);
  }
  collect_modules();
}

void BaseIndex::collect_modules() {
  for (const auto& [name, weight] : by_name_) {
    const bool matrix = weight.quantised || weight.stored->view.shape.size() >= 2;
    if (matrix && name.size() > kWeight.size() && name.ends_with(kWeight)) {
      modules_.push_back(name.substr(0, name.size() - kWeight.size()));
    }
  }
  if (!find("lm_head.weight")) {
    for (const std::string& module : modules_) {
      if (contains(kTokenEmbeddings, last_component(module))) {
        tied_embedding_ = find(module + std::string(kWeight));
      }
    }
    if (tied_embedding_) {
      modules_.emplace_back(kHead);
    }
  }
  std::sort(modules_.begin(), modules_.end());
}

std::string BaseIndex::bare(std::string_view canonical) {
  for (const std::string_view level :
       {std::string_view("model."), std::string_view("transformer.")}) {
    if (canonical.starts_with(level)) {
      return std::string(canonical.substr(level.size()));
    }
  }
  return std::string(canonical);
}

BaseIndex::Weight BaseIndex::find(std::string_view canonical) const {
  const auto exact = by_name_.find(std::string(canonical));
  if (exact != by_name_.end()) {
    return exact->second;
  }
  const auto loose = by_bare_.find(bare(canonical));
  return loose == by_bare_.end() ? Weight{} : by_name_.at(loose->second);
}

}  // namespace mg
