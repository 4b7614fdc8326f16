// The defect table: every row of the audit planted into a large and a small delta gets its rule,
// its ids, its exit code, and names the tensor.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>

#include "kernels/core/rounding.h"
#include "tests/audit/remerge.h"
#include "tests/audit/world.h"

namespace mg {
namespace {

using test::Checkpoints;
using test::MergeSteps;
using test::Pair;
using test::Remerge;
using test::Tensor;
using test::World;
using test::WorldOptions;

constexpr DType kF16 = DType::kF16;
constexpr DType kBF16 = DType::kBF16;

// ---- the table ----

struct Row {
  std::string defect;
  std::string owner;
  std::string rule;
  std::vector<std::string> catalogue;
  std::string severity;
  int exit = 0;
};

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, at);) {
    parts.push_back(part);
  }
  return parts;
}

std::vector<Row> table() {
  std::vector<Row> rows;
  std::ifstream in(std::string(MG_TEST_DATA) + "/audit/defects.tsv");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("#")) {
      continue;
    }
    const std::vector<std::string> cells = split(line, '\t');
    rows.push_back({cells.at(0), cells.at(1), cells.at(2),
                    cells.at(3) == "-" ? std::vector<std::string>() : split(cells.at(3), ','),
                    cells.at(4), std::stoi(cells.at(5))});
  }
  return rows;
}

// ---- the plants ----

/// A planted merge and what the finding must name.
struct Planted {
  std::unique_ptr<Checkpoints> checkpoints;
  std::string tensor;
};

const std::string kSquare = "model.layers.1.self_attn.q_proj.weight";
const std::string kWide = "model.layers.1.mlp.up_proj.weight";
const std::string kTable = "model.embed_tokens.weight";
const std::string kNorm = "model.layers.1.input_layernorm.weight";

/// |D|/|W|: 10 % and 0.2 % of the weights.
Planted in_world(bool small, const std::string& tensor, const std::function<void(World&)>& plant,
                 WorldOptions options = {}) {
  options.delta_ratio = small ? 0.002 : 0.1;
  auto world = std::make_unique<World>(options);
  plant(*world);
  return {std::move(world), tensor};
}

Planted in_golden(const char* golden, bool small, const std::string& tensor,
                  const std::function<void(Remerge&)>& before,
                  const std::function<void(Remerge&)>& after) {
  auto remerge = std::make_unique<Remerge>(golden);
  before(*remerge);
  if (small) {
    remerge->scale_delta(0.02);
  }
  remerge->merge(remerge->base_dtype());
  after(*remerge);
  return {std::move(remerge), tensor};
}

void nothing(Remerge& /*unchanged*/) {}

/// Blocks of 64 as NF4 stores them: 16 levels of the block's largest magnitude (QLoRA, appendix E).
Tensor through_four_bits(const Tensor& tensor) {
  constexpr double kLevels[16] = {-1.0,     -0.69619, -0.52507, -0.39491, -0.28444, -0.18477,
                                  -0.09105, 0.0,      0.07958,  0.16093,  0.24611,  0.33791,
                                  0.44071,  0.56262,  0.72296,  1.0};
  Tensor out = tensor;
  for (std::int64_t at = 0; at < tensor.size(); at += 64) {
    const std::int64_t end = std::min(tensor.size(), at + 64);
    double largest = 0;
    for (std::int64_t i = at; i < end; ++i) {
      largest = std::max(largest, std::fabs(tensor.get(i)));
    }
    for (std::int64_t i = at; i < end; ++i) {
      const double x = tensor.get(i) / largest;
      const double* best =
          std::min_element(std::begin(kLevels), std::end(kLevels),
                           [x](double u, double v) { return std::fabs(u - x) < std::fabs(v - x); });
      out.set(i, *best * largest);
    }
  }
  return out;
}

void merge_steps(World& w, const MergeSteps& steps) {
  w.options.steps = steps;
  w.merge_all();
}

/// All pairs with another delta than the right one.
void merge_pairs(World& w, const std::function<void(const std::string&, Pair&)>& change) {
  for (const std::string& weight : w.targets()) {
    Pair pair = w.pair_of(weight);
    change(weight, pair);
    w.merged[weight] = test::merge_pair(w.base.at(weight), pair, w.options.merged);
  }
}

void rename_all(World& w, const std::function<std::string(const std::string&)>& rename) {
  test::Tensors renamed;
  for (auto& [name, tensor] : w.merged) {
    renamed[rename(name)] = tensor;
  }
  w.merged = std::move(renamed);
}

void swap_layers(World& w) {
  for (const auto& [name, tensor] : w.base) {
    const std::size_t at = name.find("layers.0.");
    if (at != std::string::npos) {
      std::string other = name;
      other[at + 7] = '1';
      std::swap(w.merged.at(name), w.merged.at(other));
    }
  }
}

void leave_out_rows(World& w, std::int64_t rows) {
  Tensor& head = w.merged.at("lm_head.weight");
  head.shape[0] -= rows;
  head.bytes.resize(static_cast<std::size_t>(head.size()) * 2);
}

using Plant = std::function<Planted(bool small)>;

std::map<std::string, Plant> peers_plants() {
  std::map<std::string, Plant> plants;
  const auto world = [&](const std::string& defect, const std::string& tensor,
                         const std::function<void(World&)>& plant,
                         const WorldOptions& options = {}) {
    plants[defect] = [=](bool small) { return in_world(small, tensor, plant, options); };
  };
  const auto scale = [&](const std::string& defect, double multiple) {
    world(defect, kSquare, [multiple](World& w) { w.merge_all(multiple); }, {.rank = 6});
  };
  world("clean", "", [](World&) {});
  scale("adapter not merged", 0.0);
  scale("merged twice", 2.0);
  scale("α/√r instead of α/r", std::sqrt(6.0));
  scale("scale 1 instead of 2", 6.0 / 16.0);
  scale("scale +2 %", 1.02);
  scale("scale +0.1 %", 1.001);
  scale("sign flipped", -1.0);
  world("B·A transposed (square layers)", kSquare, [](World& w) {
    merge_pairs(w, [&](const std::string& weight, Pair& pair) {
      pair.transposed = w.base.at(weight).shape[0] == w.base.at(weight).shape[1];
    });
  });
  world("half of the rank merged", kWide, [](World& w) {
    merge_pairs(w, [](const std::string&, Pair& pair) {
      for (std::int64_t i = pair.a.size() / 2; i < pair.a.size(); ++i) {
        pair.a.set(i, 0.0);
      }
    });
  });
  world("base was 4-bit round-tripped", kWide, [](World& w) {
    for (const std::string& weight : w.targets()) {
      w.merged[weight] =
          test::merge_pair(through_four_bits(w.base.at(weight)), w.pair_of(weight), kF16);
    }
  });
  world("Δ rounded to bf16 before the add", kWide,
        [](World& w) { merge_steps(w, {.delta = kBF16}); });
  world("merged in bf16, cast to fp16", kWide,
        [](World& w) { merge_steps(w, {.load = kBF16, .sum = kBF16}); });
  world("one tensor left at base", kWide, [](World& w) { w.merged[kWide] = w.base.at(kWide); });
  world("two layers swapped", kSquare, swap_layers);
  world("one adapted tensor all zero", kWide, [](World& w) {
    std::fill(w.merged[kWide].bytes.begin(), w.merged[kWide].bytes.end(), std::byte{0});
  });
  world("one element 1 ulp off", kWide, [](World& w) { w.merged[kWide].nudge(777, 1); });
  world("NaN in an adapted tensor", kWide, [](World& w) { w.merged[kWide].set(777, NAN); });
  world("NaN in a norm (not adapted)", kNorm, [](World& w) { w.merged[kNorm].set(7, NAN); });
  world("Inf in an adapted tensor", kWide, [](World& w) { w.merged[kWide].set(777, INFINITY); });
  world("untouched embedding changed", kTable, [](World& w) {
    Tensor& table = w.merged[kTable];
    for (std::int64_t i = 0; i < table.size(); ++i) {
      table.set(i, table.get(i) * 1.01);
    }
  });
  world("adapted tensor missing", kWide, [](World& w) { w.merged.erase(kWide); });
  world("norm tensor missing", kNorm, [](World& w) { w.merged.erase(kNorm); });
  world("lora_ tensors left in a shard", "model.layers.1.self_attn.q_proj.lora_A.weight",
        [](World& w) {
          w.merged["model.layers.1.self_attn.q_proj.lora_A.weight"] = w.pair_of(kSquare).a;
        });
  world("all keys PEFT-prefixed", "base_model.model." + kTable, [](World& w) {
    rename_all(w, [](const std::string& name) { return "base_model.model." + name; });
  });
  world("`base_layer` names, not merged", "base_layer.weight", [](World& w) {
    w.merge_all(0.0);
    rename_all(w, [](const std::string& name) {
      const bool target = name.find("_proj.") != std::string::npos;
      return target ? name.substr(0, name.size() - 6) + "base_layer.weight" : name;
    });
  });
  world("all tensors bf16", kTable, [](World& w) {
    for (auto& [name, tensor] : w.merged) {
      tensor = tensor.as(kBF16);
    }
  });
  world("one tensor fp32", kWide,
        [](World& w) { w.merged[kWide] = w.merged[kWide].as(DType::kF32); });
  world("lm_head 12 rows short", "lm_head.weight", [](World& w) { leave_out_rows(w, 12); });
  world("tied, but a different lm_head stored", "lm_head.weight",
        [](World& w) {
          std::mt19937_64 random(5);
          w.merged["lm_head.weight"] = Tensor::normal(kF16, {128, 64}, 0.05, random);
        },
        {.tied = true});
  return plants;
}

/// A pattern that gives layer 1's gate_proj another alpha.
void add_alpha_pattern(World& w) {
  w.adapter_config["alpha_pattern"] = {{"layers.1.mlp.gate_proj", 48}};
}

std::map<std::string, Plant> catalogue_plants() {
  std::map<std::string, Plant> plants;
  const auto world = [&](const std::string& defect, const std::string& tensor,
                         const std::function<void(World&)>& plant,
                         const WorldOptions& options = {}) {
    plants["+ " + defect] = [=](bool small) { return in_world(small, tensor, plant, options); };
  };
  const auto golden = [&](const std::string& defect, const char* name, const std::string& tensor,
                          const std::function<void(Remerge&)>& before,
                          const std::function<void(Remerge&)>& after) {
    plants["+ " + defect] = [=](bool small) {
      return in_golden(name, small, tensor, before, after);
    };
  };
  world("one changed bit in an untouched tensor", kTable,
        [](World& w) { w.merged[kTable].bytes[4242] ^= std::byte{1}; });
  world("merged twice, rounded each time", kSquare, [](World& w) {
    for (const std::string& weight : w.targets()) {
      w.merged[weight] = test::merge_pair(w.merged.at(weight), w.pair_of(weight), kF16);
    }
  });
  world("finished merge sent through bf16", kWide, [](World& w) {
    for (auto& [name, tensor] : w.merged) {
      tensor = tensor.as(kBF16).as(kF16);
    }
  });
  // alpha 16, r 6: alpha 16 instead of 8/3; 8/3 / 6; (8/3)^2.
  world("α used as the scale", kSquare, [](World& w) { w.merge_all(6.0); }, {.rank = 6});
  world("divided by r twice", kSquare, [](World& w) { w.merge_all(1.0 / 6.0); }, {.rank = 6});
  world("scale applied twice", kSquare, [](World& w) { w.merge_all(16.0 / 6.0); }, {.rank = 6});
  world("use_rslora ignored", kSquare, [](World& w) { w.merge_all(1.0 / std::sqrt(6.0)); },
        {.rank = 6, .rslora = true});
  world("rank_pattern and alpha_pattern ignored", "model.layers.1.mlp.gate_proj.weight",
        add_alpha_pattern);
  world(
      "DoRA's magnitude dropped", kWide,
      [](World& w) { merge_pairs(w, [](const std::string&, Pair& pair) { pair.magnitude = {}; }); },
      {.dora = true});
  world("DoRA not merged", kWide, [](World& w) { w.merged = w.base; }, {.dora = true});
  golden("embedding's delta left out", "llama-embed-lora", kTable, nothing,
         [](Remerge& r) { r.merged[kTable] = r.base.at(kTable); });
  const std::string bias = "model.layers.1.self_attn.q_proj.bias";
  golden(
      "lora_bias left out", "qwen2", bias, [](Remerge& r) { r.add_lora_bias(); },
      [bias](Remerge& r) { r.merged[bias] = r.base.at(bias); });
  golden("modules_to_save not copied", "qwen2-modules-to-save", "lm_head.weight", nothing,
         [](Remerge& r) { r.merged["lm_head.weight"] = r.base.at("lm_head.weight"); });
  const auto experts = [](Remerge& r) { r.add_expert_pairs(2); };
  const std::string third = "model.layers.1.mlp.experts.3.up_proj.weight";
  golden("one expert left out", "qwen3-moe", third, experts,
         [third](Remerge& r) { r.merged[third] = r.base.at(third); });
  golden("experts in another order", "qwen3-moe", third, experts, [third](Remerge& r) {
    const Pair wrong = *r.pair_of("model.layers.1.mlp.experts.2.up_proj.weight");
    r.merged[third] = test::merge_pair(r.base.at(third), wrong, r.base_dtype());
  });
  const std::string packed = "model.layers.1.mlp.gate_up_proj.weight";
  golden("packed slices swapped", "phi3-packed", packed, nothing, [packed](Remerge& r) {
    Pair pair = *r.pair_of(packed);
    const auto half = static_cast<std::ptrdiff_t>(pair.b.bytes.size() / 2);
    std::rotate(pair.b.bytes.begin(), pair.b.bytes.begin() + half, pair.b.bytes.end());
    r.merged[packed] = test::merge_pair(r.base.at(packed), pair, r.base_dtype());
  });
  const std::string conv = "transformer.h.1.attn.c_proj.weight";
  golden("Conv1D delta transposed", "gpt2-conv1d", conv, nothing, [conv](Remerge& r) {
    Pair pair = *r.pair_of(conv);
    pair.transposed = false;
    r.merged[conv] = test::merge_pair(r.base.at(conv), pair, r.base_dtype());
  });
  world("delta of another layer", kWide, [](World& w) {
    w.merged[kWide] =
        test::merge_pair(w.base.at(kWide), w.pair_of("model.layers.2.mlp.up_proj.weight"), kF16);
  });
  world("another adapter merged", kWide, [](World& w) {
    WorldOptions other = w.options;
    other.seed = 2;
    const World stranger(other);
    for (const std::string& weight : w.targets()) {
      w.merged[weight] = test::merge_pair(w.base.at(weight), stranger.pair_of(weight), kF16);
    }
  });
  world("another base under it", kTable, [](World& w) {
    WorldOptions other = w.options;
    other.seed = 2;
    World stranger(other);
    stranger.adapter = w.adapter;
    stranger.merge_all();
    w.merged = stranger.merged;
  });
  world("merge quantised to 4 bits afterwards", kWide, [](World& w) {
    for (const std::string& weight : w.targets()) {
      w.merged[weight] = through_four_bits(w.merged.at(weight));
    }
  });
  world("stored as fp16 beyond its range", kWide,
        [](World& w) {
          w.base[kWide].set(777, 70000.0);
          w.merge_all();
        },
        {.base = kBF16, .merged = kF16});
  world("adapter all zero", "model.layers.0.mlp.up_proj.weight", [](World& w) {
    for (auto& [name, tensor] : w.adapter) {
      if (name.find("lora_B") != std::string::npos) {
        std::fill(tensor.bytes.begin(), tensor.bytes.end(), std::byte{0});
      }
    }
    w.merge_all();
  });
  world("adapter keys that reach nothing", "layers.9.self_attn.q_proj", [](World& w) {
    for (const char* part : {"lora_A", "lora_B"}) {
      w.adapter[fmt::format("base_model.model.model.layers.9.self_attn.q_proj.{}.weight", part)] =
          part == std::string("lora_A") ? w.pair_of(kSquare).a : w.pair_of(kSquare).b;
    }
  });
  world("residual-base adapter", "adapter_config.json",
        [](World& w) { w.adapter_config["init_lora_weights"] = "pissa"; });
  world("tied table adapted on one side", kTable,
        [](World& w) {
          std::mt19937_64 random(6);
          Pair pair;
          pair.a = Tensor::normal(DType::kF32, {8, 128}, 0.05, random);
          pair.b = Tensor::normal(DType::kF32, {64, 8}, w.options.delta_ratio, random);
          pair.scale = 2.0;
          pair.transposed = true;
          w.adapter["base_model.model.model.embed_tokens.lora_embedding_A"] = pair.a;
          w.adapter["base_model.model.model.embed_tokens.lora_embedding_B"] = pair.b;
          w.adapter_config["target_modules"].push_back("embed_tokens");
          w.merged[kTable] = test::merge_pair(w.base.at(kTable), pair, kF16);
        },
        {.tied = true});
  plants["+ delta lost in bf16"] = [](bool small) {  // 0.2 % either way: at 10 % nothing is lost
    return in_world(true, kWide, [small](World& w) { w.merge_all(); },
                    {.base = kBF16, .merged = kBF16, .seed = small ? 1U : 2U});
  };
  world("vocabulary resized", kTable, [](World& w) {
    Tensor& table = w.merged.at(kTable);
    table.shape[0] += 2;
    table.bytes.resize(static_cast<std::size_t>(table.size()) * 2);
  });
  world("a tensor of nobody", "model.extra.weight",
        [](World& w) { w.merged["model.extra.weight"] = w.base.at(kNorm); });
  return plants;
}

std::map<std::string, Plant> all_plants() {
  std::map<std::string, Plant> plants = peers_plants();
  plants.merge(catalogue_plants());
  return plants;
}

// ---- the tests ----

class Defects : public testing::TestWithParam<Row> {};

bool names(const Finding& finding, const AuditOutcome& outcome, const std::string& tensor) {
  if (finding.subject.find(tensor) != std::string::npos ||
      finding.message.find(tensor) != std::string::npos) {
    return true;
  }
  // A finding about many names the first four; every one is in the list of tensors, with a note.
  for (const TensorAudit& row : outcome.result.tensors) {
    if (row.name.find(tensor) != std::string::npos && !row.note.empty()) {
      return true;
    }
  }
  return false;
}

void expect_row(const Row& row, const Planted& planted) {
  const AuditOutcome outcome = planted.checkpoints->audit();
  if (row.rule == "-") {
    for (const Finding& finding : outcome.findings) {
      EXPECT_EQ(finding.severity, Severity::kNote) << test::describe(outcome);
    }
    EXPECT_EQ(test::exit_code_of(outcome), row.exit) << test::describe(outcome);
    return;
  }
  const auto found = std::find_if(outcome.findings.begin(), outcome.findings.end(),
                                  [&](const Finding& finding) { return finding.rule == row.rule; });
  ASSERT_NE(found, outcome.findings.end()) << row.rule << "\n" << test::describe(outcome);
  for (const std::string& id : row.catalogue) {
    EXPECT_NE(std::find(found->catalogue.begin(), found->catalogue.end(), id),
              found->catalogue.end())
        << id << "\n"
        << test::describe(outcome);
  }
  EXPECT_TRUE(names(*found, outcome, planted.tensor)) << planted.tensor << "\n"
                                                      << test::describe(outcome);
  EXPECT_EQ(found->command, "audit");
  EXPECT_FALSE(found->message.empty());
  const bool error = found->severity == Severity::kError;
  EXPECT_TRUE(severity_name(found->severity) == row.severity || error) << test::describe(outcome);
  EXPECT_EQ(test::exit_code_of(outcome), error ? 1 : row.exit) << test::describe(outcome);
}

TEST_P(Defects, AreSeenInALargeAndASmallDelta) {
  const Row& row = GetParam();
  const std::map<std::string, Plant> plants = all_plants();
  const auto plant = plants.find(row.defect);
  ASSERT_NE(plant, plants.end()) << "the table has a row that no test plants: " << row.defect;
  for (const bool small : {false, true}) {
    SCOPED_TRACE(fmt::format("{}, {} delta", row.defect, small ? "small" : "large"));
    expect_row(row, plant->second(small));
  }
}

std::vector<Row> audit_rows() {
  std::vector<Row> rows = table();
  std::erase_if(rows, [](const Row& row) { return row.owner != "audit"; });
  return rows;
}

INSTANTIATE_TEST_SUITE_P(Table, Defects, testing::ValuesIn(audit_rows()), [](const auto& entry) {
  std::string name;
  for (const char c : entry.param.defect) {
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  }
  return fmt::format("{}_{}", entry.index, name);
});

TEST(DefectTable, HasARowForEveryPlantAndTheRowsOfPeers) {
  const std::vector<Row> rows = table();
  std::size_t peers = 0;
  for (const Row& row : rows) {
    EXPECT_TRUE(row.owner == "audit" || row.owner == "lint") << row.defect;
    EXPECT_TRUE(!row.catalogue.empty() || row.owner == "audit") << row.defect;
    peers += row.defect.starts_with("+ ") ? 0U : 1U;
  }
  EXPECT_EQ(peers, 44U);  // docs/reference/peers.md, section 4, "clean" included
  for (const auto& [defect, plant] : all_plants()) {
    const auto row =
        std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.defect == defect; });
    EXPECT_TRUE(row != rows.end() && row->owner == "audit") << defect;
  }
}

}  // namespace
}  // namespace mg
