// Images and clips through the vision tower: against transformers + PEFT
// (tests/run/vision/make.py), in every generation of names, and with damage planted in the tower.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "harness/io/safetensors_writer.h"
#include "harness/io/temporary_folder.h"
#include "harness/lanes/checkpoint_source.h"
#include "harness/lanes/lockstep.h"
#include "harness/model/names.h"
#include "harness/run/compare.h"
#include "harness/run/models.h"
#include "harness/run/prompts.h"
#include "kernels/core/error.h"
#include "kernels/registry.h"
#include "tests/run/golden_rows.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

const fs::path kVision = fs::path(MG_TEST_DATA) / "run" / "vision";
const fs::path kQwen2Vl = fs::path(MG_TEST_DATA) / "golden" / "qwen2-vl";

Prompts vision_prompts(const fs::path& suite, const OpenModel& model) {
  return load_prompts({suite.string()}, limits_of(model), 0, {}, vision_of(model));
}

class VisionCaseTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    try {
      backend_ =
          make_backend(GetParam(), {.arithmetic = Arithmetic::kExact, .pool = &pool_, .isa = {}});
    } catch (const Error& error) {
      if (error.parts().code != "backend.unavailable") {
        throw;
      }
      GTEST_SKIP() << error.what();
    }
  }

  void expect_golden(const fs::path& folder, const Prompts& prompts,
                     const std::vector<Lane>& lanes) {
    std::vector<std::string> names;
    for (const Lane& lane : lanes) {
      names.push_back(lane.name);
    }
    std::ifstream stream(folder / "expected.json");
    const double noise = nlohmann::json::parse(stream).at("float32_noise_max_abs").get<double>();
    const SafetensorsFile expected = SafetensorsFile::open(folder / "expected.safetensors");
    test::CompareRows compare(prompts.batch, names, expected, noise,
                              test::golden_tolerance(GetParam()));
    run_lockstep(pool_, lanes, prompts.batch, {}, compare);
    EXPECT_EQ(compare.compared(), static_cast<std::int64_t>(lanes.size()) * prompts.batch.tokens() *
                                      lanes[0].source->config().vocab_size);
    std::printf("%s on %s: worst difference %.3g of the reference's float32 noise %.3g\n",
                folder.filename().c_str(), GetParam().c_str(), compare.worst(), noise);
  }

  ThreadPool pool_{2};
  std::unique_ptr<Backend> backend_;
};

TEST_P(VisionCaseTest, AdapterOnMergerAndPatchesWithSeveralImagesAndClips) {
  const fs::path folder = kVision / "qwen2-vl";
  const OpenModel base(kQwen2Vl / "base");
  const OpenAdapter adapter(folder / "adapter", base);
  CheckpointSource source(base.checkpoint, base.model, &adapter.attached);
  expect_golden(folder, vision_prompts(folder / "inputs.jsonl", base),
                {{"adapter", &source, backend_.get()}});
}

TEST_P(VisionCaseTest, WindowsGatedBlocksAndAbsoluteTimes) {
  const fs::path folder = kVision / "qwen2_5-vl";
  const OpenModel base(folder / "base");
  const OpenModel merged(folder / "merged");
  const OpenAdapter adapter(folder / "adapter", base);
  CheckpointSource base_source(base.checkpoint, base.model);
  CheckpointSource adapter_source(base.checkpoint, base.model, &adapter.attached);
  CheckpointSource merged_source(merged.checkpoint, merged.model);
  expect_golden(folder, vision_prompts(folder / "inputs.jsonl", base),
                {{"base", &base_source, backend_.get()},
                 {"adapter", &adapter_source, backend_.get()},
                 {"merged", &merged_source, backend_.get()}});
}

INSTANTIATE_TEST_SUITE_P(Backends, VisionCaseTest, ::testing::ValuesIn(backend_names()),
                         [](const auto& setting) { return "on_" + setting.param; });

// Every generation of names
// ------------------------------------------------------------------------------------------

/// Copies a folder's one safetensors file under other names, and its config changed.
void rewrite(const fs::path& from, const fs::path& to, const char* file,
             const std::function<std::string(const std::string&)>& rename,
             const std::function<void(nlohmann::json&)>& configure = {}) {
  fs::create_directories(to);
  const SafetensorsFile source = SafetensorsFile::open(from / file);
  std::vector<TensorPlan> plan;
  for (const SafetensorsRecord& record : source.header().records) {
    plan.push_back({rename(record.name), record.dtype, record.shape});
  }
  SafetensorsWriter writer(to / file, plan);
  for (const SafetensorsRecord& record : source.header().records) {
    const TensorView view = source.view(record);
    writer.write({view.data, view.bytes});
  }
  writer.finish();
  const char* config_name =
      fs::exists(from / "config.json") ? "config.json" : "adapter_config.json";
  std::ifstream stream(from / config_name);
  nlohmann::json config = nlohmann::json::parse(stream);
  if (configure) {
    configure(config);
  }
  std::ofstream(to / config_name) << config.dump(1);
}

struct Generation {
  const char* language;  // before "layers."
  const char* tower;
  const char* head;
};
constexpr Generation kGenerations[] = {
    {"model.", "visual.", "lm_head."},
    {"model.language_model.", "model.visual.", "lm_head."},
    {"language_model.model.", "visual.", "language_model.lm_head."},
};

std::string in_generation_of(const std::string& canonical, const Generation& generation) {
  for (const auto& [from, to] : {std::pair{"model.", generation.language},
                                 {"visual.", generation.tower},
                                 {"lm_head.", generation.head}}) {
    if (canonical.starts_with(from)) {
      return to + canonical.substr(std::strlen(from));
    }
  }
  return canonical;
}

/// transformers 4's flat config as transformers 5 writes it.
void nest_config(nlohmann::json& config) {
  nlohmann::json text;
  const std::vector<std::string> outer = {
      "architectures",       "image_token_id", "video_token_id",     "vision_start_token_id",
      "vision_end_token_id", "vision_config",  "tie_word_embeddings"};
  nlohmann::json root = {{"model_type", "qwen2_vl"}, {"dtype", config.at("torch_dtype")}};
  for (const auto& [key, value] : config.items()) {
    (std::find(outer.begin(), outer.end(), key) != outer.end() ? root : text)[key] = value;
  }
  text["model_type"] = "qwen2_vl_text";
  text["rope_parameters"] = {{"rope_type", "default"},
                             {"rope_theta", text.at("rope_theta")},
                             {"mrope_section", text.at("rope_scaling").at("mrope_section")}};
  text.erase("rope_theta");
  text.erase("rope_scaling");
  text.erase("torch_dtype");
  root["text_config"] = text;
  config = root;
}

class KeepVisionLogits final : public Observer {
 public:
  void logits(const LogitChunk& rows) override {
    for (const std::span<const float> lane : rows.lanes) {
      values.insert(values.end(), lane.begin(), lane.end());
    }
  }
  std::vector<float> values;
};

std::vector<float> triple_logits(const fs::path& base_folder, const fs::path& adapter_folder,
                                 const fs::path& merged_folder) {
  const OpenModel base(base_folder);
  const OpenModel merged(merged_folder);
  const OpenAdapter adapter(adapter_folder, base);
  CheckpointSource base_source(base.checkpoint, base.model);
  CheckpointSource adapter_source(base.checkpoint, base.model, &adapter.attached);
  CheckpointSource merged_source(merged.checkpoint, merged.model);
  ThreadPool pool(2);
  const std::unique_ptr<Backend> backend =
      make_backend("cpu", {.arithmetic = Arithmetic::kExact, .pool = &pool, .isa = {}});
  const std::vector<Lane> lanes{{"base", &base_source, backend.get()},
                                {"adapter", &adapter_source, backend.get()},
                                {"merged", &merged_source, backend.get()}};
  KeepVisionLogits keep;
  run_lockstep(pool, lanes, vision_prompts(kQwen2Vl / "inputs.jsonl", base).batch, {}, keep);
  return keep.values;
}

TEST(VisionNamesTest, EveryGenerationOfNamesAndConfigsComputesTheSameBits) {
  const std::vector<float> expected =
      triple_logits(kQwen2Vl / "base", kQwen2Vl / "adapter", kQwen2Vl / "merged");
  const TemporaryFolder scratch;
  const auto rename_to = [](const Generation& generation) {
    return [generation](const std::string& name) {
      return in_generation_of(canonical_name(name), generation);
    };
  };
  for (std::size_t g = 0; g < std::size(kGenerations); ++g) {
    const Generation& generation = kGenerations[g];
    const fs::path folder = scratch.path() / std::to_string(g);
    const auto configure = g == 0 ? std::function<void(nlohmann::json&)>{} : nest_config;
    rewrite(kQwen2Vl / "base", folder / "base", "model.safetensors", rename_to(generation),
            configure);
    rewrite(kQwen2Vl / "merged", folder / "merged", "model.safetensors", rename_to(generation),
            configure);
    rewrite(kQwen2Vl / "adapter", folder / "adapter", "adapter_model.safetensors",
            [&](const std::string& name) {
              return "base_model.model." + in_generation_of(canonical_name(name), generation);
            });
  }
  // Each of base, adapter and merged in a generation of its own.
  for (std::size_t b = 0; b < std::size(kGenerations); ++b) {
    for (std::size_t a = 0; a < std::size(kGenerations); ++a) {
      const std::size_t m = (a + b) % std::size(kGenerations);
      EXPECT_EQ(triple_logits(scratch.path() / std::to_string(b) / "base",
                              scratch.path() / std::to_string(a) / "adapter",
                              scratch.path() / std::to_string(m) / "merged"),
                expected)
          << "base " << b << ", adapter " << a << ", merged " << m;
    }
  }
}

// Damage in the tower
// ------------------------------------------------------------------------------------------

/// What compare says of merged with `damage` done to the named tensors' bytes.
CompareRun compare_damaged(const fs::path& merged_folder) {
  const OpenModel base(kQwen2Vl / "base");
  const OpenModel merged(merged_folder);
  const OpenAdapter adapter(kQwen2Vl / "adapter", base);
  ThreadPool pool(2);
  CompareOptions options;
  options.bootstrap.replicates = 50;
  options.remerge = true;
  return compare_lanes(base, adapter, merged, vision_prompts(kQwen2Vl / "inputs.jsonl", base),
                       options, nullptr, pool, [](double) {});
}

/// Merged with the base's bytes, or with doubled ones, in every tensor whose name begins so.
void write_damaged(const fs::path& to, const std::string& prefix, bool base_bytes) {
  fs::copy(kQwen2Vl / "merged", to, fs::copy_options::recursive);
  const SafetensorsFile source = SafetensorsFile::open(kQwen2Vl / "merged" / "model.safetensors");
  const SafetensorsFile base = SafetensorsFile::open(kQwen2Vl / "base" / "model.safetensors");
  std::vector<TensorPlan> plan;
  for (const SafetensorsRecord& record : source.header().records) {
    plan.push_back({record.name, record.dtype, record.shape});
  }
  SafetensorsWriter writer(to / "model.safetensors", plan);
  for (const SafetensorsRecord& record : source.header().records) {
    const TensorView view = source.view(record);
    std::vector<std::byte> bytes(view.data, view.data + view.bytes);
    if (record.name.starts_with(prefix)) {
      const auto same =
          std::find_if(base.header().records.begin(), base.header().records.end(),
                       [&](const SafetensorsRecord& each) { return each.name == record.name; });
      const TensorView original = base.view(*same);
      for (std::size_t i = 0; i < bytes.size(); ++i) {
        // The upper byte of a half: its exponent one higher is twice the number.
        const bool normal = (std::to_integer<int>(bytes[i]) & 0x7C) >= 0x04;
        bytes[i] = base_bytes ? original.data[i]
                   : i % 2 == 1 && normal
                       ? static_cast<std::byte>(std::to_integer<int>(bytes[i]) + 0x04)
                       : bytes[i];
      }
    }
    writer.write(bytes);
  }
  writer.finish();
}

TEST(VisionDamageTest, DriftNamesThePartOfTheTower) {
  const CompareRun sound = compare_damaged(kQwen2Vl / "merged");
  EXPECT_TRUE(sound.findings.empty()) << sound.findings.front().message;
  // Patch embedding, two halves of two blocks, merger; then three layers of text.
  const std::vector<LayerDrift>& layers = sound.comparisons.front().layers;
  ASSERT_EQ(layers.size(), 6U + 6U);
  EXPECT_EQ(layers[0].place.module, "patch embedding");
  EXPECT_EQ(layers[5].place.module, "merger");
  EXPECT_EQ(layers[5].place.stack, "vision");
  EXPECT_EQ(layers[6].place.stack, "language");

  struct Case {
    const char* prefix;
    bool base_bytes;
    const char* subject;
  };
  const Case cases[] = {{"visual.", true, "vision block 0 attention"},
                        {"visual.blocks.1.mlp", true, "vision block 1 mlp"},
                        {"visual.patch_embed", false, "the vision tower patch embedding"},
                        {"visual.merger.mlp.2.weight", false, "the vision tower merger"},
                        {"model.layers.1.mlp", true, "layer 1 mlp"}};
  for (const Case& each : cases) {
    const TemporaryFolder scratch;
    write_damaged(scratch.path() / "merged", each.prefix, each.base_bytes);
    const CompareRun run = compare_damaged(scratch.path() / "merged");
    ASSERT_FALSE(run.findings.empty()) << each.prefix;
    EXPECT_EQ(run.findings.front().rule, "compare.layer-departs");
    EXPECT_EQ(run.findings.front().subject, each.subject) << run.findings.front().message;
  }
}

// Any cut of the work gives the same bits, and images know nothing of one another.
TEST(VisionDamageTest, ChunksNeighboursAndThreadsDoNotChangeABit) {
  const OpenModel base(kVision / "qwen2_5-vl" / "base");
  CheckpointSource source(base.checkpoint, base.model);
  const Prompts prompts = vision_prompts(kVision / "qwen2_5-vl" / "inputs.jsonl", base);
  const auto run = [&](const Batch& batch, int threads, std::int64_t chunk) {
    ThreadPool pool(threads);
    const std::unique_ptr<Backend> backend =
        make_backend("cpu", {.arithmetic = Arithmetic::kExact, .pool = &pool, .isa = {}});
    const Lane lane{"base", &source, backend.get()};
    LockstepOptions options;
    options.chunk_tokens = chunk;
    KeepVisionLogits keep;
    run_lockstep(pool, std::span(&lane, 1), batch, options, keep);
    return keep.values;
  };
  const std::vector<float> whole = run(prompts.batch, 1, 1024);
  EXPECT_EQ(run(prompts.batch, 3, 16), whole);
  Batch alone;
  const BatchPrompt& last = prompts.batch.prompts.back();
  alone.add(last.id, prompts.batch.content(prompts.batch.prompts.size() - 1, last.length));
  const auto begin = whole.begin() + last.begin * base.model.config.vocab_size;
  EXPECT_EQ(run(alone, 1, 1024), std::vector<float>(begin, whole.end()));
}

// Positions
// ------------------------------------------------------------------------------------------

TEST(VisionPositionsTest, EqualTheReferencesOnRandomLayouts) {
  std::ifstream stream(kVision / "positions.jsonl");
  int lines = 0;
  for (std::string text; std::getline(stream, text); ++lines) {
    const nlohmann::json line = nlohmann::json::parse(text);
    VisionConfig vision;
    vision.spatial_merge_size = 2;
    vision.image_token_id = 300;
    vision.video_token_id = 301;
    vision.tokens_per_second = line.value("tokens_per_second", 0);
    const auto ids = line.at("ids").get<std::vector<std::int32_t>>();
    std::vector<Picture> pictures;
    std::size_t image = 0;
    std::size_t video = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const bool clip = ids[i] == 301;
      if ((clip || ids[i] == 300) && ids[i - 1] == 302) {  // vision_start
        const std::size_t index = clip ? video++ : image++;
        pictures.push_back({.video = clip,
                            .grid = line.at(clip ? "videos" : "images")[index].get<Grid>(),
                            .seconds_per_frame = clip && line.contains("seconds")
                                                     ? line.at("seconds")[index].get<double>()
                                                     : 1.0});
      }
    }
    const std::vector<Position> positions = prompt_positions(ids, pictures, vision);
    const auto expected = line.at("positions").get<std::vector<std::vector<std::int64_t>>>();
    ASSERT_EQ(positions.size(), expected[0].size()) << text;
    for (std::size_t i = 0; i < positions.size(); ++i) {
      ASSERT_EQ(positions[i], (Position{expected[0][i], expected[1][i], expected[2][i]}))
          << text << " token " << i;
    }
  }
  EXPECT_EQ(lines, 260);
}

}  // namespace
}  // namespace mg
