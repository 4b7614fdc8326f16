// Finds tensors of a checkpoint by canonical name, without knowing its architecture.
// Not for: checking names against rules (resolve.h).  Tested in tests/model/attach_test.cc.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "harness/io/checkpoint.h"

namespace mg {

class BaseIndex {
 public:
  /// `base` must outlive the index.
  explicit BaseIndex(const Checkpoint& base);

  struct Weight {
    const StoredTensor* stored = nullptr;
    bool quantised = false;  // has companions: `stored` holds codes
    explicit operator bool() const { return stored != nullptr; }
  };
  /// The tensor of this name, or of the same name with or without the backbone's level ("model.",
  /// "transformer."), or the codes that stand for it (X.qweight for X.weight).
  Weight find(std::string_view canonical) const;

  /// Canonical paths of modules that hold a weight, sorted: linear layers, embeddings,
  /// convolutions.  Vectors (norms) and single parameters are none.  A tied head that is not stored
  /// counts as "lm_head".
  const std::vector<std::string>& modules() const { return modules_; }
  /// The token embedding of a base without a head of its own; empty where the head is stored.
  Weight tied_embedding() const { return tied_embedding_; }
  static constexpr std::string_view kHead = "lm_head";

 private:
  static std::string bare(std::string_view canonical);
  void collect_modules();

  std::unordered_map<std::string, Weight>
      by_name_;  // canonical, with quantised weights under the weight's name
  std::unordered_map<std::string, std::string> by_bare_;
  std::vector<std::string> modules_;
  Weight tied_embedding_;
};

/// Whether the last component of a module's path is that of a token or position embedding.
bool is_embedding_module(std::string_view module);

/// "a.b.c" -> "c"
std::string_view last_component(std::string_view path);

}  // namespace mg
