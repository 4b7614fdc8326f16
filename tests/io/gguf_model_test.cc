// GGUF files that llama.cpp's converter made of the golden bases (tests/io/gguf/convert.py), opened
// as checkpoints: the same tensors, and the config that llama.cpp computes with.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "harness/io/checkpoint.h"
#include "kernels/core/convert.h"
#include "tests/io/temp_folder.h"

namespace mg {
namespace {

const std::filesystem::path kTests = MG_TEST_DATA;

struct GoldenBase {
  const char* file;
  const char* golden;
};

constexpr GoldenBase kCases[] = {{"llama", "llama-embed-lora"},
                                 {"llama3", "llama3-rope"},
                                 {"qwen2", "qwen2"},
                                 {"gemma3", "gemma3"},
                                 {"phi3", "phi3-packed"}};

Checkpoint open_gguf(const std::string& name) {
  return Checkpoint::open(kTests / "io/gguf/models" / (name + ".gguf"), {.decode = true});
}

std::vector<float> numbers(const Checkpoint& checkpoint, const StoredTensor& tensor) {
  const DecodedHold hold = checkpoint.decode(tensor);
  std::vector<float> out(static_cast<std::size_t>(tensor.view.elements()));
  widen_to_float(tensor.view.dtype, tensor.view.data, tensor.view.elements(), out.data());
  return out;
}

TEST(GgufModel, HasTheCheckpointsTensorsBitForBit) {
  for (const GoldenBase& one : kCases) {
    SCOPED_TRACE(one.file);
    const Checkpoint gguf = open_gguf(one.file);
    const Checkpoint base = Checkpoint::open(kTests / "golden" / one.golden / "base");
    const bool shifted = std::string_view(one.file).starts_with("gemma");
    std::set<std::string> names;
    for (const StoredTensor& tensor : base.tensors()) {
      const StoredTensor* ours = gguf.find(tensor.name);
      ASSERT_NE(ours, nullptr) << tensor.name;
      names.insert(tensor.name);
      EXPECT_EQ(ours->view.shape, tensor.view.shape) << tensor.name;
      std::vector<float> expected = numbers(base, tensor);
      if (shifted && tensor.name.ends_with("norm.weight")) {
        for (float& value : expected) {  // the file holds 1 + w, in FP32
          value = (value + 1.0F) - 1.0F;
        }
      }
      const std::vector<float> actual = numbers(gguf, *ours);
      ASSERT_EQ(actual.size(), expected.size()) << tensor.name;
      EXPECT_EQ(std::memcmp(actual.data(), expected.data(), 4 * actual.size()), 0) << tensor.name;
    }
    for (const StoredTensor& tensor : gguf.tensors()) {
      EXPECT_TRUE(names.contains(tensor.name)) << tensor.name;
    }
  }
}

TEST(GgufModel, HasTheConfigThatItsMetadataSays) {
  for (const GoldenBase& one : kCases) {
    SCOPED_TRACE(one.file);
    const nlohmann::json gguf = open_gguf(one.file).config();
    const nlohmann::json base = Checkpoint::open(kTests / "golden" / one.golden / "base").config();
    for (const char* key :
         {"model_type", "architectures", "hidden_size", "intermediate_size", "num_hidden_layers",
          "num_attention_heads", "num_key_value_heads", "vocab_size", "rms_norm_eps",
          "max_position_embeddings", "tie_word_embeddings", "sliding_window", "hidden_activation",
          "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping", "head_dim",
          "attention_bias", "mlp_bias"}) {
      if (base.contains(key) && !base.at(key).is_null() && gguf.contains(key)) {
        EXPECT_EQ(gguf.at(key), base.at(key)) << key;
      }
    }
    const nlohmann::json rope = gguf.at("rope_parameters");
    const double theta = one.file == std::string("gemma3")
                             ? rope.at("full_attention").at("rope_theta").get<double>()
                             : rope.at("rope_theta").get<double>();
    const double expected = base.contains("rope_theta")
                                ? base.at("rope_theta").get<double>()
                                : base.at("rope_parameters")
                                      .value("rope_theta", nlohmann::json(1000000.0))
                                      .get<double>();
    EXPECT_EQ(theta, expected);
  }
}

TEST(GgufModel, Llama3sFrequenciesAreFactorsOfEachFrequency) {
  const nlohmann::json rope = open_gguf("llama3").config().at("rope_parameters");
  EXPECT_EQ(rope.at("rope_type"), "longrope");
  EXPECT_EQ(rope.at("short_factor"), rope.at("long_factor"));
  EXPECT_EQ(rope.at("short_factor").size(), 8U);
  EXPECT_EQ(rope.at("short_factor").front(), 1.0);  // fast ones stay
  EXPECT_EQ(rope.at("short_factor").back(), 8.0);   // slow ones are `factor` times slower
  EXPECT_EQ(rope.at("attention_factor"), 1.0);
}

// llama.cpp takes every sixth layer of Gemma 3 for a full one, whatever the checkpoint says.
TEST(GgufModel, Gemma3HasThePatternOfTheProgramThatServesIt) {
  const nlohmann::json gguf = open_gguf("gemma3").config();
  EXPECT_EQ(gguf.at("layer_types"),
            nlohmann::json({"sliding_attention", "sliding_attention", "sliding_attention"}));
}

TEST(GgufModelErrors, AnArchitectureThatIsNotKnownIsNamed) {
  const TempFolder folder;
  const auto text = [](const std::string& value) {
    const std::uint64_t size = value.size();
    return std::string(reinterpret_cast<const char*>(&size), 8) + value;
  };
  std::string bytes("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 24);
  bytes += text("general.architecture") + std::string("\10\0\0\0", 4) + text("falcon");
  const std::filesystem::path path = folder.write("model.gguf", bytes);
  EXPECT_EQ(folder.error_of([&] { Checkpoint::open(path, {.decode = true}); }),
            "error[gguf.architecture]: models of this architecture are not read from GGUF\n"
            "  where:    DIR/model.gguf: key \"general.architecture\"\n"
            "  expected: llama, qwen2, qwen3, gemma2, gemma3, phi3   actual: falcon\n"
            "  hint:     compare the checkpoint's folder instead");
}

}  // namespace
}  // namespace mg
