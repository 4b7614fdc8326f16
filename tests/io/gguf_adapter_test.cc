// LoRA adapters in GGUF files: what llama.cpp's converter makes of golden adapters is the PEFT
// folder's own numbers (their order of rows on a base: tests/model/attach_test.cc), and what cannot
// be computed is named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>

#include "harness/io/adapter.h"
#include "harness/io/checkpoint.h"
#include "kernels/core/convert.h"
#include "tests/io/gguf_writer.h"
#include "tests/io/temp_folder.h"

namespace mg {
namespace {

constexpr std::uint32_t kF32 = 0;
constexpr std::uint32_t kQ8 = 8;

std::string floats(std::size_t count, float value) {
  std::string bytes;
  for (std::size_t i = 0; i < count; ++i) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return bytes;
}

class GgufAdapterFile : public ::testing::Test {
 protected:
  GgufAdapterFile() {
    writer_.text("general.architecture", "qwen2");
    writer_.text("general.type", "adapter");
    writer_.text("adapter.type", "lora");
    writer_.real("adapter.lora.alpha", 16.0F);
  }
  void pair(const std::string& matrix, std::int64_t rank_a = 2, std::int64_t rank_b = 2) {
    writer_.tensor(matrix + ".lora_a", {rank_a, 32}, kF32,
                   floats(static_cast<std::size_t>(rank_a) * 32, 1.0F));
    writer_.tensor(matrix + ".lora_b", {6, rank_b}, kF32,
                   floats(static_cast<std::size_t>(rank_b) * 6, 2.0F));
  }
  std::filesystem::path written() {
    writer_.write(folder_.path() / "lora.gguf");
    return folder_.path() / "lora.gguf";
  }
  std::string error() {
    const std::filesystem::path path = written();
    return folder_.error_of([&] { Adapter::open(path); });
  }

  TempFolder folder_;
  GgufWriter writer_;
};

TEST_F(GgufAdapterFile, EachPairHasTheScaleOfItsOwnRank) {
  pair("blk.0.attn_q.weight");
  pair("blk.1.ffn_down.weight", 4, 4);
  const Adapter adapter = Adapter::open(written());
  EXPECT_TRUE(adapter.is_gguf());
  EXPECT_EQ(adapter.config().lora_alpha, 16.0);
  ASSERT_EQ(adapter.modules().size(), 2U);
  EXPECT_EQ(adapter.modules()[0].module, "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(adapter.modules()[0].scale, 8.0);
  EXPECT_FALSE(adapter.modules()[0].interleaved_b);  // Llama's alone are
  EXPECT_EQ(adapter.modules()[1].module, "model.layers.1.mlp.down_proj");
  EXPECT_EQ(adapter.modules()[1].scale, 4.0);
}

TEST_F(GgufAdapterFile, CodesAreDecoded) {
  const std::string scale("\0\x38", 2);  // 0.5 as FP16
  std::string block = scale;
  for (char code = -16; code < 16; ++code) {
    block += code;
  }
  writer_.tensor("blk.0.attn_v.weight.lora_a", {1, 32}, kQ8, block);
  writer_.tensor("blk.0.attn_v.weight.lora_b", {6, 1}, kF32, floats(6, 1.0F));
  const Adapter adapter = Adapter::open(written());
  const TensorView& a = adapter.modules().front().a;
  ASSERT_EQ(a.dtype, DType::kF32);
  ASSERT_EQ(a.shape, (Shape{1, 32}));
  for (std::size_t i = 0; i < 32; ++i) {
    float value = 0;
    std::memcpy(&value, a.data + i * sizeof(value), sizeof(value));
    EXPECT_EQ(value, 0.5F * (static_cast<float>(i) - 16.0F));
  }
  EXPECT_EQ(adapter.tensors().front().dtype, "Q8_0");
  EXPECT_EQ(adapter.tensors().front().elements, 32);
}

TEST_F(GgufAdapterFile, AModelIsNoAdapter) {
  pair("blk.0.attn_q.weight");
  writer_.text("general.type", "model");
  EXPECT_EQ(error(),
            "error[adapter.is-model]: this is a model, not an adapter\n"
            "  where:    DIR/lora.gguf: key \"general.type\"\n"
            "  expected: adapter   actual: model\n"
            "  hint:     give it as --also, or as --base");
}

TEST_F(GgufAdapterFile, AnAdapterIsNoModel) {
  pair("blk.0.attn_q.weight");
  const std::filesystem::path path = written();
  EXPECT_EQ(folder_.error_of([&] { Checkpoint::open(path, {.decode = true}); }),
            "error[gguf.is-adapter]: this is an adapter, not a model\n"
            "  where:    DIR/lora.gguf: key \"general.type\"\n"
            "  expected: a model   actual: adapter\n"
            "  hint:     give it as --adapter");
}

TEST_F(GgufAdapterFile, AnotherKindOfAdapter) {
  writer_.text("adapter.type", "control_vector");
  EXPECT_EQ(error(),
            "error[adapter.gguf-kind]: only LoRA adapters are read\n"
            "  where:    DIR/lora.gguf: key \"adapter.type\"\n"
            "  expected: lora   actual: control_vector\n"
            "  hint:     convert the adapter with llama.cpp's convert_lora_to_gguf.py");
}

TEST_F(GgufAdapterFile, AnArchitectureThatIsNotKnown) {
  writer_.text("general.architecture", "falcon");
  EXPECT_EQ(error(),
            "error[gguf.architecture]: models of this architecture are not read from GGUF\n"
            "  where:    DIR/lora.gguf: key \"general.architecture\"\n"
            "  expected: llama, qwen2, qwen3, gemma2, gemma3, phi3   actual: falcon\n"
            "  hint:     compare the checkpoint's folder instead");
}

TEST_F(GgufAdapterFile, NoAlphaIsNoScaleOfOne) {
  pair("blk.0.attn_q.weight");
  writer_.erase("adapter.lora.alpha");
  const char* text =
      "error[adapter.config]: the adapter's scale is not known\n"
      "  where:    DIR/lora.gguf: key \"adapter.lora.alpha\"\n"
      "  expected: a number other than 0   actual: {}\n"
      "  hint:     convert the PEFT folder again; llama.cpp would take 1 for alpha / rank";
  const auto with = [&](const std::string& actual) {
    std::string out = text;
    return out.replace(out.find("{}"), 2, actual);
  };
  EXPECT_EQ(error(), with("none"));
  writer_.real("adapter.lora.alpha", 0.0F);
  EXPECT_EQ(error(), with("0.0"));
  writer_.text("adapter.lora.alpha", "16");
  EXPECT_EQ(error(), with("\"16\""));
}

TEST_F(GgufAdapterFile, AHalfOfAPair) {
  writer_.tensor("blk.0.attn_q.weight.lora_a", {2, 32}, kF32, floats(64, 1.0F));
  EXPECT_EQ(error(),
            "error[adapter.unpaired]: a low-rank pair is not complete\n"
            "  where:    DIR/lora.gguf, blk.0.attn_q.weight.lora_a\n"
            "  expected: lora_a and lora_b of the matrix   actual: no lora_b\n"
            "  hint:     the file was cut or filtered: convert the adapter again");
}

TEST_F(GgufAdapterFile, RanksThatDiffer) {
  pair("blk.0.attn_q.weight", 2, 4);
  EXPECT_EQ(error(),
            "error[adapter.rank-mismatch]: lora_a and lora_b of a matrix have different ranks\n"
            "  where:    DIR/lora.gguf, blk.0.attn_q.weight.lora_b\n"
            "  expected: [6, 2]   actual: [6, 4]\n"
            "  hint:     the two factors are of different runs: convert the adapter again");
}

TEST_F(GgufAdapterFile, AFactorThatIsNoMatrix) {
  writer_.tensor("blk.0.attn_q.weight.lora_a", {64}, kF32, floats(64, 1.0F));
  writer_.tensor("blk.0.attn_q.weight.lora_b", {6, 2}, kF32, floats(12, 1.0F));
  EXPECT_EQ(error(),
            "error[adapter.shape]: a low-rank factor is no matrix\n"
            "  where:    DIR/lora.gguf, blk.0.attn_q.weight.lora_a\n"
            "  expected: two dimensions, none 0   actual: [64]\n"
            "  hint:     convert the adapter again");
}

TEST_F(GgufAdapterFile, AMatrixThatTheArchitectureDoesNotHave) {
  pair("blk.0.ffn_gate_exps.weight");
  EXPECT_THAT(error(),
              testing::StartsWith(
                  "error[adapter.gguf-tensor]: the adapter's tensors do not fit its config\n"
                  "  where:    DIR/lora.gguf\n"
                  "  actual:   2 problems\n"
                  "    blk.0.ffn_gate_exps.weight.lora_a"));
}

TEST_F(GgufAdapterFile, NormsThatLlamaCppLeavesOutAreNamed) {
  pair("blk.0.attn_q.weight");
  writer_.tensor("blk.0.attn_norm.weight", {32}, kF32, floats(32, 1.0F));
  EXPECT_EQ(Adapter::open(written()).unrecognised(),
            std::vector<std::string>{"blk.0.attn_norm.weight"});
}

TEST_F(GgufAdapterFile, NothingInIt) {
  EXPECT_EQ(error(),
            "error[adapter.no-lora]: the file holds no LoRA tensors\n"
            "  where:    DIR/lora.gguf\n"
            "  expected: blk.N.attn_q.weight.lora_a, ...   actual: no tensors\n"
            "  hint:     convert the adapter with llama.cpp's convert_lora_to_gguf.py");
}

}  // namespace
}  // namespace mg
