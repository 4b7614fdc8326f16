// Weights of GPTQ, AWQ, FP8, MXFP4 and compressed-tensors checkpoints: bit for bit what the
// libraries' own code made of the same tensors (README.md), and every way parts and configs can be
// wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "harness/io/checkpoint.h"
#include "harness/io/digest.h"
#include "harness/io/json_file.h"
#include "harness/io/safetensors_writer.h"
#include "kernels/core/parallel.h"
#include "tests/io/temp_folder.h"

namespace mg {
namespace {

using ::testing::HasSubstr;

const std::filesystem::path kScaledCases =
    std::filesystem::path(MG_TEST_DATA) / "io" / "quantised" / "cases";

std::string digest_of(const StoredTensor& tensor) {
  return digest_bytes({tensor.view.data, tensor.view.bytes});
}

TEST(ScaledWeights, HaveTheBitsOfTheLibrariesThatReadThem) {
  ThreadPool pool(2);
  std::size_t cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kScaledCases)) {
    SCOPED_TRACE(entry.path().filename().string());
    ++cases;
    const Checkpoint opened = Checkpoint::open(entry.path(), {.decode = true});
    const nlohmann::json weights = read_json(entry.path() / "expected.json").at("dequantised");
    EXPECT_EQ(opened.quantised().size(), weights.size());
    for (const auto& [name, expected] : weights.items()) {
      const StoredTensor* tensor = opened.find(name);
      ASSERT_TRUE(tensor != nullptr && tensor->quantised != nullptr) << name;
      EXPECT_EQ(tensor->view.shape, expected.at("shape").get<Shape>()) << name;
      const std::string sha256 = expected.at("sha256").get<std::string>();
      {
        const DecodedHold hold = opened.decode(*tensor, &pool);
        EXPECT_EQ(digest_of(*tensor), sha256) << name;
      }
      // One row at a time gives the same.
      std::vector<float> rows(tensor->view.bytes / sizeof(float));
      const QuantisedTensor& codes = *tensor->quantised;
      for (std::int64_t row = 0; row < codes.rows_count; ++row) {
        codes.rows(row, row + 1, rows.data() + row * codes.cols_count);
      }
      EXPECT_EQ(digest_bytes(std::as_bytes(std::span(rows))), sha256) << name;
    }
    for (const StoredTensor& tensor : opened.tensors()) {
      EXPECT_TRUE(tensor.quantised != nullptr || is_plain(tensor.view.dtype)) << tensor.name;
    }
  }
  EXPECT_EQ(cases, 29U);
}

/// A folder whose config and tensors are a case's, changed.
class ChangedCase : public ::testing::Test {
 protected:
  struct Part {
    DType dtype = DType::kU8;
    Shape shape;
    std::vector<std::byte> bytes;
  };

  void take(const std::string& name) {
    const std::filesystem::path folder = kScaledCases / name;
    config_ = read_json(folder / "config.json");
    parts_.clear();
    const SafetensorsFile file = SafetensorsFile::open(folder / "model.safetensors");
    for (const SafetensorsRecord& record : file.header().records) {
      const TensorView view = file.view(record);
      parts_[record.name] = {view.dtype, view.shape, {view.data, view.data + view.bytes}};
    }
  }

  nlohmann::json& quantization() { return config_["quantization_config"]; }

  void resize(const std::string& name, Shape shape, DType dtype) {
    Part& part = parts_[name];
    const auto bits = element_count(shape).value() * dtype_bits(dtype);
    part.bytes.resize(static_cast<std::size_t>(bits / 8));
    part.shape = std::move(shape);
    part.dtype = dtype;
  }

  std::string error() {
    std::vector<TensorPlan> plan;
    for (const auto& [name, part] : parts_) {
      plan.push_back({name, part.dtype, part.shape});
    }
    folder_.write("config.json", config_.dump());
    {
      SafetensorsWriter writer(folder_.path() / "model.safetensors", plan);
      for (const auto& [name, part] : parts_) {
        writer.write(std::span(part.bytes));
      }
      writer.finish();
    }
    return folder_.error_of([&] {
      const Checkpoint opened = Checkpoint::open(folder_.path(), {.decode = true});
      for (const StoredTensor& tensor : opened.tensors()) {
        static_cast<void>(opened.decode(tensor));
      }
    });
  }

  nlohmann::json config_;
  std::map<std::string, Part> parts_;
  TempFolder folder_;
};

TEST_F(ChangedCase, AMissingPartIsNamed) {
  const std::vector<std::array<std::string, 2>> cases = {
      {"gptq-4bit-16", "model.a.scales"},
      {"gptq-4bit-16", "model.a.qzeros"},
      {"gptq-8bit-16-ordered-v2", "model.a.g_idx"},
      {"awq-32", "model.a.scales"},
      {"fp8-bf16-scales", "model.a.weight_scale_inv"},
      {"mxfp4", "model.mlp.experts.down_proj_scales"},
      {"compressed-int8-packed", "model.a.weight_zero_point"},
      {"compressed-int4-channel", "model.a.weight_shape"},
      {"compressed-int4-ordered", "model.a.weight_g_idx"},
      {"compressed-fp8-tensor", "model.a.weight_scale"},
  };
  for (const auto& [name, part] : cases) {
    take(name);
    ASSERT_EQ(parts_.erase(part), 1U) << part;
    const bool experts = name == "mxfp4";
    EXPECT_EQ(error(), "error[quantised.incomplete]: a part of the quantised weight " +
                           std::string(experts ? "model.mlp.experts.down_proj" : "model.a.weight") +
                           " is missing\n  where:    DIR: " + part + "\n  expected: " + part +
                           " beside its other parts   actual: absent\n"
                           "  hint:     an incomplete download or a save that dropped it: fetch or "
                           "save the base again");
  }
}

TEST_F(ChangedCase, PartsWithoutCodesAreNamed) {
  take("compressed-mixed");
  parts_.erase("model.a.weight_packed");
  EXPECT_EQ(error(),
            "error[quantised.incomplete]: a part of a quantised weight stands without the codes it "
            "belongs to\n"
            "  where:    DIR: model.a.weight_scale\n"
            "  expected: model.a.weight_packed or codes in .weight   actual: F16 [20, 1]\n"
            "  hint:     an incomplete download, or values were put in the codes' place and the "
            "scales left: fetch or save the checkpoint again");
  take("fp8-tensor-and-rows");  // values in the place of one weight's codes
  resize("model.a.weight", {24, 32}, DType::kBF16);
  EXPECT_THAT(error(), HasSubstr("DIR: model.a.weight_scale\n  expected: model.a.weight"));
}

TEST_F(ChangedCase, APartOfAnotherDtypeOrShapeIsRefused) {
  take("gptq-4bit-16");
  resize("model.a.scales", {4, 47}, DType::kF16);
  EXPECT_EQ(error(),
            "error[quantised.layout]: a part of a quantised weight is not as GPTQ stores it; its "
            "meaning would be a guess\n"
            "  where:    DIR: model.a.scales\n"
            "  expected: F16, BF16 or F32 [4, 48]   actual: F16 [4, 47]\n"
            "  hint:     fetch or save the checkpoint again, with the config.json that belongs to "
            "it, without casting it");
  struct Change {
    std::string name, part;
    Shape shape;
    DType dtype;
    std::string message;
  };
  const std::vector<Change> changes = {
      {"gptq-4bit-16", "model.a.qweight", {8, 48}, DType::kI64, "expected: I32 [inputs / 8"},
      {"gptq-4bit-16", "model.a.qzeros", {4, 5}, DType::kI32, "expected: I32 [4, 6]"},
      {"gptq-4bit-16", "model.a.g_idx", {63}, DType::kI32, "expected: I32 [64]"},
      {"awq-32", "model.a.qzeros", {2, 48}, DType::kI32, "expected: I32 [2, 6]"},
      {"awq-32", "model.a.scales", {2, 48}, DType::kI16, "expected: F16, BF16 or F32 [2, 48]"},
      {"fp8-128-ragged", "model.a.weight_scale_inv", {1, 2}, DType::kF32, "F32 [2, 2]"},
      {"fp8-128-ragged", "model.a.weight", {129, 130}, DType::kF8E5M2, "expected: F8_E4M3"},
      {"fp8-bf16-scales", "model.a.weight_scale_inv", {3, 2}, DType::kU8, "actual: U8 [3, 2]"},
      {"fp8-tensor-and-rows", "model.b.weight_scale", {23, 1}, DType::kF32, "[24, 1]"},
      {"mxfp4", "model.mlp.experts.down_proj_blocks", {2, 16, 8, 8}, DType::kU8, "16]"},
      {"mxfp4", "model.mlp.experts.down_proj_scales", {2, 8, 16}, DType::kU8, "U8 [2, 16, 8]"},
      {"compressed-int8-packed", "model.a.weight_zero_point", {22, 2}, DType::kI8, "I32 [6, 2]"},
      {"compressed-int8-channel", "model.a.weight", {24, 32}, DType::kF8E4M3, "expected: I8"},
      {"compressed-int8-channel", "model.a.weight_scale", {24, 2}, DType::kBF16, "[24, 1]"},
      {"compressed-fp8-tensor", "model.a.weight_scale", {2}, DType::kBF16, "expected: F16, BF16"},
      {"compressed-fp8-block", "model.a.weight_scale", {2, 3}, DType::kF32, "[2, 2]"},
  };
  for (const Change& change : changes) {
    take(change.name);
    resize(change.part, change.shape, change.dtype);
    const std::string text = error();
    EXPECT_THAT(text, HasSubstr("error[quantised.layout]")) << change.part;
    EXPECT_THAT(text, HasSubstr("DIR: " + change.part + "\n")) << change.part;
    EXPECT_THAT(text, HasSubstr(change.message)) << change.part;
  }
}

TEST_F(ChangedCase, NumbersThatSayWhereThingsAreAreChecked) {
  take("gptq-8bit-16-ordered-v2");
  parts_["model.a.g_idx"].bytes[4 * 7] = std::byte{4};
  EXPECT_EQ(error(),
            "error[quantised.layout]: a column belongs to a group that is not there\n"
            "  where:    DIR: model.a.g_idx\n"
            "  expected: groups 0 to 3   actual: group 4 of column 7\n"
            "  hint:     fetch or save the checkpoint again, with the config.json that belongs to "
            "it");
  parts_["model.a.g_idx"].bytes[4 * 7 + 3] = std::byte{0x80};
  EXPECT_THAT(error(), HasSubstr("actual: group -2147483644 of column 7"));

  take("gptq-8bit-16-ordered-v2");
  quantization()["desc_act"] = false;
  EXPECT_THAT(error(), HasSubstr("columns are grouped out of order, and config.json says they are "
                                 "not"));

  take("compressed-int4-channel");
  parts_["model.a.weight_shape"].bytes[8] = std::byte{65};
  EXPECT_EQ(error(),
            "error[quantised.layout]: weight_shape is not the shape of the codes\n"
            "  where:    DIR: model.a.weight_shape\n"
            "  expected: [20, 57 to 64]   actual: [20, 65]\n"
            "  hint:     fetch or save the checkpoint again, with the config.json that belongs to "
            "it");

  take("gptq-4bit-16");
  quantization()["group_size"] = 24;
  EXPECT_EQ(error(),
            "error[quantised.layout]: the group size does not divide the inputs of a weight\n"
            "  where:    DIR: model.a.qweight\n"
            "  expected: inputs in groups of 24   actual: 64 inputs\n"
            "  hint:     fetch or save the checkpoint again, with the config.json that belongs to "
            "it");
}

TEST_F(ChangedCase, ContradictionsOfConfigAndTensorsAreRefused) {
  take("gptq-4bit-16");
  quantization() = {{"quant_method", "awq"}, {"bits", 4}, {"group_size", 16}, {"version", "gemm"}};
  EXPECT_THAT(error(), HasSubstr("error[quantised.layout]"));
  take("awq-32");
  quantization() = {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 32}};
  EXPECT_THAT(error(), HasSubstr("error[quantised.layout]"));
  take("gptq-8bit-16");
  quantization()["bits"] = 4;
  EXPECT_THAT(error(), HasSubstr("error[quantised.layout]"));
  take("gptq-4bit-16");
  parts_["model.a.weight"] = {DType::kF16, {48, 64}, std::vector<std::byte>(48 * 64 * 2)};
  EXPECT_THAT(error(), HasSubstr("a weight is there as codes and as it is"));
  take("compressed-int8-channel");
  quantization()["ignore"] = {"re:.*\\.a$"};
  EXPECT_THAT(error(), HasSubstr("codes of a module that config.json does not count as quantised"));
  take("compressed-int8-channel");
  quantization()["format"] = "pack-quantized";
  EXPECT_THAT(error(), HasSubstr("a weight is stored in another format than config.json says"));
  take("compressed-int8-zeros");
  quantization()["config_groups"]["group_0"]["weights"]["symmetric"] = true;
  EXPECT_THAT(error(), HasSubstr("a zero point beside a weight that config.json calls symmetric"));
}

/// A value of quantization_config, by its path, set; the error and its actual value.
struct ConfigChange {
  std::string name, path;
  nlohmann::json value;
  std::string code, actual;
};

TEST_F(ChangedCase, WhatConfigSaysIsReadStrictly) {
  const std::string scheme = "/config_groups/group_0/weights/";
  const std::vector<ConfigChange> changes = {
      {"gptq-4bit-16", "/quant_method", "gptqq", "config", "gptqq"},
      {"gptq-4bit-16", "/quant_method", nullptr, "config", "absent"},
      {"gptq-4bit-16", "/quant_method", 3, "config", "3"},
      {"gptq-4bit-16", "/quant_method", "aqlm", "unsupported", "aqlm"},
      {"gptq-4bit-16", "/bits", 3, "unsupported", "3"},
      {"gptq-4bit-16", "/bits", 5, "config", "5"},
      {"gptq-4bit-16", "/bits", "4", "config", "\"4\""},
      {"gptq-4bit-16", "/bits", nullptr, "config", "absent"},
      {"gptq-4bit-16", "/group_size", 0, "config", "0"},
      {"gptq-4bit-16", "/group_size", nullptr, "config", "absent"},
      {"gptq-4bit-16", "/checkpoint_format", "marlin", "unsupported", "marlin"},
      {"gptq-4bit-16", "/checkpoint_format", "gptq_v3", "config", "gptq_v3"},
      {"gptq-4bit-16", "/desc_act", "no", "config", "\"no\""},
      {"gptq-4bit-16", "/dynamic", {{"+:.*down.*", {{"bits", 8}}}}, "unsupported", "+:.*down.*"},
      {"awq-32", "/bits", 8, "config", "8"},
      {"awq-32", "/version", "gemv", "unsupported", "gemv"},
      {"awq-32", "/version", "GEMV_fast", "unsupported", "gemv_fast"},
      {"awq-32", "/version", "gem", "config", "gem"},
      {"awq-32", "/version", nullptr, "config", "absent"},
      {"awq-32", "/zero_point", false, "unsupported", "false"},
      {"fp8-bf16-scales", "/fmt", "e5m2", "unsupported", "e5m2"},
      {"fp8-bf16-scales", "/scale_fmt", "e8", "config", "e8"},
      {"fp8-bf16-scales", "/weight_block_size", {8}, "config", "[8]"},
      {"fp8-bf16-scales", "/weight_block_size", {8, 0}, "config", "[8,0]"},
      {"compressed-int8-channel", "/format", "marlin-24", "unsupported", "marlin-24"},
      {"compressed-int8-channel", "/format", "packed", "config", "packed"},
      {"compressed-int8-channel", "/format", nullptr, "config", "absent"},
      {"compressed-int8-channel", "/config_groups", nlohmann::json::object(), "config", "{}"},
      {"compressed-int8-channel", scheme + "num_bits", 9, "config", "9"},
      {"compressed-int8-channel", scheme + "num_bits", 4, "unsupported", "int of 4 bits"},
      {"compressed-int8-channel", scheme + "type", "double", "config", "double"},
      {"compressed-int8-channel", scheme + "strategy", "row", "config", "row"},
      {"compressed-int8-channel", scheme + "strategy", nullptr, "config", "absent"},
      {"compressed-int8-channel", scheme + "strategy", "tensor_group", "unsupported",
       "tensor_group"},
      {"compressed-fp8-group", scheme + "group_size", nullptr, "config", "absent"},
      {"compressed-int4-ordered", scheme + "actorder", "columns", "config", "columns"},
      {"compressed-fp8-block", scheme + "block_structure", "16", "config", "\"16\""},
  };
  for (const ConfigChange& change : changes) {
    take(change.name);
    quantization()[nlohmann::json::json_pointer(change.path)] = change.value;
    const std::string text = error();
    std::string dotted = change.path;
    std::replace(dotted.begin(), dotted.end(), '/', '.');
    EXPECT_THAT(text, HasSubstr("error[quantised." + change.code + "]")) << change.path;
    EXPECT_THAT(text, HasSubstr("DIR/config.json: quantization_config" + dotted)) << change.path;
    EXPECT_THAT(text, HasSubstr("actual: " + change.actual + "\n")) << change.path;
  }
  take("gptq-4bit-16");
  quantization()["bits"] = 5;
  EXPECT_EQ(error(),
            "error[quantised.config]: bits of the quantisation cannot be used\n"
            "  where:    DIR/config.json: quantization_config.bits\n"
            "  expected: 2, 4 or 8   actual: 5\n"
            "  hint:     take config.json from the folder the weights came from");
  quantization()["bits"] = 3;
  EXPECT_EQ(error(),
            "error[quantised.unsupported]: weights quantised like this cannot be read yet\n"
            "  where:    DIR/config.json: quantization_config.bits\n"
            "  expected: 2, 4 or 8   actual: 3\n"
            "  hint:     give the 16-bit checkpoint that this one was quantised from");
}

TEST_F(ChangedCase, OtherSpellingsOfTheSameAreRead) {
  take("compressed-fp8-block");
  quantization()["config_groups"]["group_0"]["weights"]["block_structure"] = "16x24";
  EXPECT_EQ(error(), "no error");
  take("awq-32");
  quantization() = {
      {"quant_method", "awq"}, {"w_bit", 4}, {"q_group_size", 32}, {"version", "GEMM"}};
  EXPECT_EQ(error(), "no error");
  config_ = {{"text_config", config_}};
  EXPECT_EQ(error(), "no error");
  take("gptq-4bit-16");
  quantization().erase("checkpoint_format");  // AutoGPTQ before 0.7
  EXPECT_EQ(error(), "no error");
  parts_.erase("model.a.g_idx");
  EXPECT_EQ(error(), "no error");
}

TEST_F(ChangedCase, PlainWeightsBesideALeftoverConfigStayPlain) {
  take("gptq-4bit-16");
  parts_.clear();
  parts_["model.a.weight"] = {DType::kF16, {4, 4}, std::vector<std::byte>(32)};
  quantization() = {{"quant_method", "no such method"}};
  EXPECT_EQ(error(), "no error");  // lint says what it is (F01)
}

}  // namespace
}  // namespace mg
