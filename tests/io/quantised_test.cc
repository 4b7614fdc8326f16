// Weights stored as codes, read as one tensor: against what bitsandbytes itself dequantised
// (tests/golden/README.md), and every way a part can be missing or wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "harness/io/bitsandbytes.h"
#include "harness/io/checkpoint.h"
#include "harness/io/digest.h"
#include "harness/io/json_file.h"
#include "harness/io/safetensors_writer.h"
#include "kernels/core/convert.h"
#include "kernels/core/dequantise.h"
#include "kernels/core/parallel.h"
#include "tests/io/temp_folder.h"

namespace mg {
namespace {

const std::filesystem::path kQuantisedCases = std::filesystem::path(MG_TEST_DATA) / "golden";

class DequantisedGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(DequantisedGolden, HasTheLibrarysBits) {
  const std::filesystem::path folder = kQuantisedCases / GetParam();
  const Checkpoint base = Checkpoint::open(folder / "base", {.decode = true});
  const nlohmann::json expected = read_json(folder / "dequantized.json");
  ThreadPool pool(2);
  std::size_t whole = 0;
  for (const auto& [entry, recorded] : expected.items()) {
    const bool half = entry.ends_with(".fp16");
    const std::string name = half ? entry.substr(0, entry.size() - 5) : entry;
    const StoredTensor* tensor = base.find(name);
    ASSERT_TRUE(tensor != nullptr && tensor->quantised != nullptr) << name;
    ASSERT_EQ(tensor->view.shape, recorded.at("shape").get<Shape>()) << name;
    ASSERT_EQ(recorded.at("dtype"), half ? "F16" : "F32") << name;
    const DecodedHold hold = base.decode(*tensor, half ? nullptr : &pool);
    std::vector<std::byte> bytes(tensor->view.data, tensor->view.data + tensor->view.bytes);
    if (half) {  // in its compute dtype the library rounds the same numbers once
      ASSERT_EQ(tensor->quantised->library_dtype, DType::kF16);
      bytes.resize(bytes.size() / 2);
      narrow_from_float(DType::kF16, reinterpret_cast<const float*>(tensor->view.data),
                        tensor->view.elements(), bytes.data());
    }
    EXPECT_EQ(digest_bytes(bytes), recorded.at("sha256").get<std::string>()) << entry;
    whole += half ? 0 : 1;
  }
  EXPECT_EQ(whole, 21U);
  EXPECT_EQ(base.quantised().size(), 21U);
  for (const StoredTensor& tensor : base.tensors()) {  // what was not quantised stays as it is
    EXPECT_TRUE(tensor.quantised != nullptr || tensor.view.dtype == DType::kF16) << tensor.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, DequantisedGolden,
                         ::testing::Values("qwen2-nf4", "qwen2-fp4", "qwen2-int8"));

TEST(Decoding, ACopyIsSharedWhileItIsHeldAndMadeAnewAfterwards) {
  const Checkpoint base = Checkpoint::open(kQuantisedCases / "qwen2-nf4/base", {.decode = true});
  const StoredTensor& tensor = *base.find("model.layers.0.mlp.up_proj.weight");
  DecodedHold first = base.decode(tensor);
  auto* values = reinterpret_cast<float*>(const_cast<std::byte*>(tensor.view.data));
  const float right = values[0];
  values[0] = 12345.0F;  // a mark, to see who made the copy
  DecodedHold second = base.decode(tensor);
  EXPECT_EQ(values[0], 12345.0F);
  first.reset();
  EXPECT_EQ(values[0], 12345.0F);
  second.reset();
  const DecodedHold again = base.decode(tensor);
  EXPECT_EQ(values[0], right);
  EXPECT_EQ(base.decode(*base.find("model.norm.weight")), nullptr);
}

TEST(DecodingDeathTest, ACopyNobodyHoldsCannotBeRead) {
  const Checkpoint base = Checkpoint::open(kQuantisedCases / "qwen2-nf4/base", {.decode = true});
  const StoredTensor& tensor = *base.find("model.layers.0.mlp.up_proj.weight");
  EXPECT_DEATH({ [[maybe_unused]] volatile std::byte first = *tensor.view.data; }, "");
}

TEST(BlockOrder, RowsThatEndInsideABlockAreReadAsToldAndOthersAlike) {
  const Checkpoint by_row = Checkpoint::open(kQuantisedCases / "qwen2-nf4/base", {.decode = true});
  const Checkpoint flat = Checkpoint::open(kQuantisedCases / "qwen2-nf4/base",
                                           {.decode = true, .block_order = BlockOrder::kFlat});
  for (const auto& tensor : flat.quantised()) {
    const StoredTensor& one = *by_row.find(tensor->name);
    const StoredTensor& other = *flat.find(tensor->name);
    const DecodedHold hold_one = by_row.decode(one);
    const DecodedHold hold_other = flat.decode(other);
    const bool down = tensor->name.find("down_proj") != std::string::npos;  // rows of 112
    EXPECT_EQ(tensor->ambiguous_blocks, down) << tensor->name;
    EXPECT_EQ(std::memcmp(one.view.data, other.view.data, one.view.bytes) == 0, !down)
        << tensor->name;
  }
}

/// A folder with one quantised weight, to be damaged.
class BrokenParts : public ::testing::Test {
 protected:
  struct Part {
    DType dtype = DType::kU8;
    Shape shape;
    std::string bytes;
  };

  static std::string zeros(std::size_t count) { return std::string(count, '\0'); }

  void four_bits(std::string state =
                     R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float16", )"
                     R"("shape": [4, 64]})") {
    parts_["w.weight"] = {DType::kU8, {128, 1}, zeros(128)};
    parts_["w.weight.absmax"] = {DType::kF32, {4}, zeros(16)};
    parts_["w.weight.quant_map"] = {
        DType::kF32, {16}, {reinterpret_cast<const char*>(kNf4Levels.data()), 64}};
    const auto size = static_cast<std::int64_t>(state.size());
    parts_["w.weight.quant_state.bitsandbytes__nf4"] = {DType::kU8, {size}, std::move(state)};
  }

  void eight_bits() {
    parts_["w.weight"] = {DType::kI8, {4, 64}, zeros(256)};
    parts_["w.SCB"] = {DType::kF32, {4}, zeros(16)};
    parts_["w.weight_format"] = {DType::kU8, {}, zeros(1)};
  }

  std::string error() {
    std::vector<TensorPlan> plan;
    for (const auto& [name, part] : parts_) {
      plan.push_back({name, part.dtype, part.shape});
    }
    folder_.write("config.json", "{}");
    {
      SafetensorsWriter writer(folder_.path() / "model.safetensors", plan);
      for (const auto& [name, part] : parts_) {
        writer.write(std::as_bytes(std::span(part.bytes)));
      }
      writer.finish();
    }
    return folder_.error_of([&] {
      const Checkpoint opened = Checkpoint::open(folder_.path(), {.decode = true});
      for (const StoredTensor& tensor : opened.tensors()) {
        EXPECT_NE(opened.decode(tensor), nullptr) << tensor.name;
      }
    });
  }

  std::map<std::string, Part> parts_;
  TempFolder folder_;
};

TEST_F(BrokenParts, WholeOnesOpen) {
  four_bits();
  EXPECT_EQ(error(), "no error");
  parts_.clear();
  eight_bits();
  EXPECT_EQ(error(), "no error");
  parts_.erase("w.weight_format");
  EXPECT_EQ(error(), "no error");
  four_bits();
  parts_["w.weight"] = {DType::kBF16, {64, 1}, zeros(128)};  // bnb_4bit_quant_storage
  parts_.erase("w.SCB");
  EXPECT_EQ(error(), "no error");
}

TEST_F(BrokenParts, AMissingPartIsNamed) {
  for (const std::string name : {"w.weight", "w.weight.absmax", "w.weight.quant_map"}) {
    four_bits();
    parts_.erase(name);
    EXPECT_EQ(error(),
              "error[quantised.incomplete]: a part of the quantised weight w.weight is missing\n"
              "  where:    DIR: " +
                  name + "\n  expected: " + name +
                  " beside its other parts   actual: absent\n"
                  "  hint:     an incomplete download or a save that dropped it: fetch or save the "
                  "base again");
  }
  four_bits();
  parts_.erase("w.weight.quant_state.bitsandbytes__nf4");
  EXPECT_EQ(error(),
            "error[quantised.incomplete]: a part of a quantised weight stands without the part "
            "that describes it\n"
            "  where:    DIR: w.weight.absmax\n"
            "  expected: the weight's quant_state.bitsandbytes__nf4 or __fp4   actual: F32 [4]\n"
            "  hint:     an incomplete download or a save that dropped it: fetch or save the base "
            "again");
}

TEST_F(BrokenParts, APartOfAnotherDtypeOrSizeIsRefused) {
  four_bits();
  parts_["w.weight.absmax"] = {DType::kF16, {4}, zeros(8)};  // a cast of the whole file
  EXPECT_EQ(error(),
            "error[quantised.layout]: a part of a quantised weight is not as bitsandbytes stores "
            "it; its meaning would be a guess\n"
            "  where:    DIR: w.weight.absmax\n"
            "  expected: F32 [4]   actual: F16 [4]\n"
            "  hint:     save the base again with bitsandbytes and transformers, without casting "
            "it");
  four_bits();
  parts_["w.weight"] = {DType::kU8, {127, 1}, zeros(127)};
  EXPECT_THAT(error(), ::testing::HasSubstr("expected: 128 bytes of codes for [4, 64]   actual: "
                                            "U8 [127, 1]"));
  four_bits();
  parts_["w.weight.quant_map"].bytes[5] = 'x';
  EXPECT_THAT(error(), ::testing::HasSubstr("the table of code values is not the format's"));
}

TEST_F(BrokenParts, AScaleOfEightBitsBesideFourIsRefused) {
  four_bits();
  parts_["w.SCB"] = {DType::kF32, {4}, zeros(16)};
  EXPECT_THAT(error(), ::testing::HasSubstr("expected: I8 [rows, columns]"));
}

TEST_F(BrokenParts, AnUnknownLayoutOfEightBitsIsRefused) {
  eight_bits();
  parts_["w.weight_format"].bytes[0] = 1;
  EXPECT_EQ(error(), "no error");
  parts_["w.weight_format"].bytes[0] = 2;
  EXPECT_EQ(error(),
            "error[quantised.layout]: the layout of an INT8 weight is not known\n"
            "  where:    DIR: w.weight_format\n"
            "  expected: 0 (row), or 1 (col32) with columns in whole groups of 32   actual: 2 "
            "(col_turing), [4, 64]\n"
            "  hint:     load the base with an older bitsandbytes and save it again: it writes "
            "rows");
  parts_["w.weight_format"].bytes[0] = 9;
  EXPECT_THAT(error(), ::testing::HasSubstr("actual: 9"));
  eight_bits();
  parts_["w.SCB"] = {DType::kF32, {3}, zeros(12)};
  EXPECT_THAT(error(), ::testing::HasSubstr("expected: F32 [4]   actual: F32 [3]"));
}

TEST_F(BrokenParts, TheStateIsReadStrictly) {
  const std::string good =
      R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [4, 64]})";
  const std::vector<std::array<std::string, 3>> cases = {
      {R"("blocksize": 64)", R"("blocksize": 48)",
       "expected: a power of two from 32 to 4096   actual: 48"},
      {R"("blocksize": 64)", R"("blocksize": "64")", "actual: \"64\""},
      {R"("blocksize": 64)", R"("blocksize": 1e300)", "actual: 1e+300"},
      {R"("blocksize": 64)", R"("block": 64)", "blocksize of the quant_state cannot be used"},
      {R"("nf4")", R"("nf3")", "expected: nf4 or fp4   actual: nf3"},
      {R"("nf4")", R"("fp4")", "the quant_state's name and its quant_type differ"},
      {R"("float16")", R"("float64")", "expected: float16, bfloat16 or float32   actual: float64"},
      {R"([4, 64])", R"([4, -64])", "the weight's [rows, columns]"},
      {R"([4, 64])", R"([4000000000, 4000000000])", "the weight's [rows, columns]"},
      {R"([4, 64])", R"([1, 4, 64])", "the weight's [rows, columns]"},
      {R"([4, 64])", "null", "the weight's [rows, columns]"},
      {R"([4, 64])", R"([4, 64], "shape": [4, 64])", "json.duplicate-key"},
      {R"([4, 64])", R"([4, 64], "nested_offset": 0.1)", "nested_blocksize of the quant_state"},
      {R"([4, 64])", R"([4, 64], "nested_blocksize": 256, "nested_offset": NaN)",
       "a finite number"},
      {R"({)", R"([)", "json.syntax"},
  };
  for (const auto& [what, by, message] : cases) {
    std::string state = good;
    state.replace(state.find(what), what.size(), by);
    four_bits(state);
    EXPECT_THAT(error(), ::testing::HasSubstr(message)) << state;
  }
}

}  // namespace
}  // namespace mg
