// Base, adapter and merged checkpoints made up in memory and written to folders: what the defect
// table and the healthy merges are planted into.
#pragma once

#include <string>
#include <vector>

#include "tests/audit/checkpoints.h"

namespace mg::test {

/// A Llama of three layers, hidden 64, intermediate 96, four heads over two key/value heads,
/// vocabulary 128, untied.
struct WorldOptions {
  DType base = DType::kF16;
  DType adapter = DType::kF32;
  DType merged = DType::kF16;
  MergeSteps steps = {};
  double delta_ratio = 0.1;  // |D| / |W|
  std::int64_t rank = 8;
  double alpha = 16;
  bool rslora = false;
  bool dora = false;
  bool tied = false;
  std::vector<std::string> modules = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                      "gate_proj", "up_proj", "down_proj"};
  std::uint64_t seed = 1;
};

class World : public Checkpoints {
 public:
  explicit World(const WorldOptions& options);

  WorldOptions options;

  /// Weights a pair belongs to: "model.layers.0.self_attn.q_proj.weight".
  std::vector<std::string> targets() const;
  /// base + multiple * D of one target under the steps, as the merged dtype.
  Tensor merge_target(const std::string& weight, double multiple, const MergeSteps& steps) const;
  Tensor merge_target(const std::string& weight, double multiple = 1.0) const;
  /// Fills `merged` as the options say.
  void merge_all(double multiple = 1.0);
  const Tensor& a_of(const std::string& weight) const;
  const Tensor& b_of(const std::string& weight) const;
  /// With the scale the adapter's config asks for.
  Pair pair_of(const std::string& weight) const;

 private:
  void make_base(std::mt19937_64& random);
  void make_adapter(std::mt19937_64& random);
};

}  // namespace mg::test
