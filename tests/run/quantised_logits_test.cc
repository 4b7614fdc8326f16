// Checkpoints as quantisers write them (GPTQ, AWQ, FP8, compressed-tensors) run from their folder,
// against transformers in float64 on the weights that the quantisers' own code dequantised
// (tests/io/quantised/README.md; tolerance: golden_rows.h).
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "harness/io/json_file.h"
#include "harness/lanes/checkpoint_source.h"
#include "harness/lanes/lockstep.h"
#include "harness/run/models.h"
#include "harness/run/prompts.h"
#include "kernels/registry.h"
#include "tests/run/golden_rows.h"

namespace mg {
namespace {

const std::filesystem::path kQuantisersCases =
    std::filesystem::path(MG_TEST_DATA) / "io" / "quantised" / "cases";

class QuantisersCheckpoint : public ::testing::TestWithParam<const char*> {};

TEST_P(QuantisersCheckpoint, HasTheLogitsOfItsDequantisedWeights) {
  const std::filesystem::path folder = kQuantisersCases / GetParam();
  ThreadPool pool(2);
  const std::unique_ptr<Backend> backend =
      make_backend("cpu", {.arithmetic = Arithmetic::kExact, .pool = &pool, .isa = {}});
  const OpenModel model(folder);
  EXPECT_TRUE(model.model.problems.empty());
  EXPECT_EQ(model.checkpoint.quantised().size(), 14U);
  CheckpointSource source(model.checkpoint, model.model);
  const Prompts prompts =
      load_prompts({(folder / "inputs.jsonl").string()}, limits_of(model), 0, {});
  const SafetensorsFile expected = SafetensorsFile::open(folder / "expected.safetensors");
  const double noise =
      read_json(folder / "expected.json").at("float32_noise_max_abs").get<double>();
  test::CompareRows compare(prompts.batch, {"base"}, expected, noise,
                            test::golden_tolerance("cpu"));
  const Lane lane{"base", &source, backend.get()};
  run_lockstep(pool, std::span(&lane, 1), prompts.batch, {}, compare);
  EXPECT_EQ(compare.compared(), prompts.batch.tokens() * model.model.config.vocab_size);
}

INSTANTIATE_TEST_SUITE_P(Families, QuantisersCheckpoint,
                         ::testing::Values("gptq", "awq", "fp8", "compressed-int4"));

}  // namespace
}  // namespace mg
