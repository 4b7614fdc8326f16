// The reader against files of the gguf Python package (tests/io/gguf/make.py) and against headers
// that lie.
#include "harness/io/gguf.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/io/safetensors.h"
#include "kernels/core/error.h"
#include "tests/io/temp_folder.h"

namespace mg {
namespace {

std::filesystem::path written(const char* name) {
  return std::filesystem::path(MG_TEST_DATA) / "io/gguf" / name;
}

template <typename T>
std::string packed(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

std::string gguf_text(const std::string& value) {
  return packed(std::uint64_t{value.size()}) + value;
}

std::string key(const std::string& name, std::uint32_t type, const std::string& value) {
  return gguf_text(name) + packed(type) + value;
}

std::string gguf_tensor(const std::string& name, const std::vector<std::uint64_t>& dimensions,
                        std::uint32_t type, std::uint64_t offset) {
  std::string bytes = gguf_text(name) + packed(static_cast<std::uint32_t>(dimensions.size()));
  for (const std::uint64_t size : dimensions) {
    bytes += packed(size);
  }
  return bytes + packed(type) + packed(offset);
}

// A whole file; the data is padded to 32 from its front, and `data` bytes long.
std::string file(const std::vector<std::string>& keys, const std::vector<std::string>& tensors,
                 std::size_t data, std::uint32_t version = 3) {
  std::string bytes = "GGUF" + packed(version) + packed(std::uint64_t{tensors.size()}) +
                      packed(std::uint64_t{keys.size()});
  for (const std::string& part : keys) {
    bytes += part;
  }
  for (const std::string& part : tensors) {
    bytes += part;
  }
  bytes.resize((bytes.size() + 31) / 32 * 32);
  return bytes + std::string(data, '\0');
}

GgufHeader parse_header(const std::string& bytes) {
  return parse_gguf({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}, "m.gguf");
}

std::string gguf_error(const std::string& bytes) {
  const TempFolder folder;
  return folder.error_of([&] { parse_header(bytes); });
}

TEST(Gguf, EveryTypeHasTheBitsOfTheGgufPackage) {
  const GgufFile gguf = GgufFile::open(written("types.gguf"));
  const SafetensorsFile expected = SafetensorsFile::open(written("expected.safetensors"));
  ASSERT_EQ(gguf.header().tensors.size(), expected.header().records.size());
  for (const SafetensorsRecord& record : expected.header().records) {
    SCOPED_TRACE(record.name);
    const GgufTensor* tensor = gguf.find(record.name);
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->shape, record.shape);
    const TensorView view = expected.view(record);
    std::vector<float> numbers(static_cast<std::size_t>(view.elements()));
    gguf.rows(*tensor, 0, tensor->rows(), numbers.data());
    EXPECT_EQ(std::memcmp(numbers.data(), view.data, view.bytes), 0);
    // The last row by itself.
    const auto row = static_cast<std::size_t>(tensor->row_length());
    std::vector<float> last(row);
    gguf.rows(*tensor, tensor->rows() - 1, tensor->rows(), last.data());
    EXPECT_EQ(std::memcmp(last.data(), numbers.data() + numbers.size() - row, 4 * row), 0);
  }
}

TEST(Gguf, EveryKindOfMetadataKeepsItsValue) {
  const GgufFile gguf = GgufFile::open(written("types.gguf"));
  const nlohmann::ordered_json& metadata = gguf.metadata();
  EXPECT_EQ(metadata.at("general.architecture"), "llama");
  EXPECT_EQ(metadata.at("test.u8"), 200);
  EXPECT_EQ(metadata.at("test.i8"), -100);
  EXPECT_EQ(metadata.at("test.u16"), 60000);
  EXPECT_EQ(metadata.at("test.i16"), -30000);
  EXPECT_EQ(metadata.at("test.u32"), 4000000000U);
  EXPECT_EQ(metadata.at("test.i32"), -2000000000);
  EXPECT_EQ(metadata.at("test.f32").get<float>(), 0.1F);
  EXPECT_EQ(metadata.at("test.bool"), true);
  EXPECT_EQ(metadata.at("test.string"), "text, „quoted“");
  EXPECT_EQ(metadata.at("test.u64"), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(metadata.at("test.i64"), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(metadata.at("test.f64").get<double>(), 0.1);
  EXPECT_EQ(metadata.at("test.strings"), nlohmann::ordered_json({"<s>", "", "Ġthe"}));
  EXPECT_EQ(metadata.at("test.numbers"), nlohmann::ordered_json({1, 2, 3}));
}

TEST(Gguf, DimensionsAreReadTheOtherWayRound) {
  const GgufHeader header = parse_header(file({}, {gguf_tensor("t", {4, 3, 2}, 0, 0)}, 96));
  EXPECT_EQ(header.tensors.front().shape, (Shape{2, 3, 4}));
  EXPECT_EQ(header.tensors.front().rows(), 6);
  EXPECT_EQ(header.tensors.front().row_length(), 4);
}

TEST(Gguf, TheAlignmentOfTheFileIsUsed) {
  const std::string alignment = key("general.alignment", 4, packed(std::uint32_t{8}));
  const GgufHeader header = parse_header(
      file({alignment}, {gguf_tensor("a", {1}, 0, 0), gguf_tensor("b", {1}, 0, 8)}, 16));
  EXPECT_EQ(header.alignment, 8U);
  EXPECT_EQ(header.tensors[1].begin - header.tensors[0].begin, 8U);
}

TEST(Gguf, AFileCutAnywhereIsAnError) {
  std::string bytes;
  {
    const auto mapped = MappedFile::open(written("types.gguf"));
    bytes.assign(reinterpret_cast<const char*>(mapped->bytes().data()), mapped->bytes().size());
  }
  ASSERT_NO_THROW(parse_header(bytes));
  const GgufHeader header = parse_header(bytes);
  const std::uint64_t end = header.tensors.back().begin + header.tensors.back().bytes;
  for (std::size_t size = 0; size < end; size += size < 2500 ? 1 : 97) {
    EXPECT_THROW(parse_header(bytes.substr(0, size)), Error) << size;
  }
}

TEST(GgufErrors, NameWhatIsWrongAndWhere) {
  const std::string again =
      "the file is damaged or was not written by a GGUF writer; convert or download it again";
  const std::string number = packed(std::uint32_t{7});
  EXPECT_EQ(gguf_error("PK\3\4 and so on"),
            "error[gguf.magic]: this is no GGUF file\n"
            "  where:    m.gguf\n"
            "  expected: GGUF in the first four bytes   actual: other bytes\n"
            "  hint:     name a .gguf file");
  EXPECT_EQ(gguf_error(file({}, {}, 0, 0x03000000)),
            "error[gguf.version]: this version of GGUF is not read\n"
            "  where:    m.gguf\n"
            "  expected: 2 or 3, little-endian   actual: a big-endian file\n"
            "  hint:     write it anew with a current llama.cpp (convert_hf_to_gguf.py)");
  EXPECT_EQ(gguf_error(file({key("a", 4, number), key("a", 4, number)}, {}, 0)),
            "error[gguf.repeated]: a key occurs twice\n"
            "  where:    m.gguf: key \"a\"\n"
            "  expected: each key once   actual: twice\n"
            "  hint:     " +
                again);
  EXPECT_EQ(gguf_error(file({}, {gguf_tensor("t", {4}, 0, 0), gguf_tensor("u", {4}, 0, 16)}, 64)),
            "error[gguf.offset]: a tensor does not follow the one before it\n"
            "  where:    m.gguf: tensor \"u\"\n"
            "  expected: offset 32   actual: offset 16\n"
            "  hint:     " +
                again);
  EXPECT_EQ(gguf_error(file({}, {gguf_tensor("t", {33}, 2, 0)}, 64)),
            "error[gguf.shape]: a row is not made of whole blocks\n"
            "  where:    m.gguf: tensor \"t\"\n"
            "  expected: a multiple of 32 for Q4_0   actual: rows of 33\n"
            "  hint:     " +
                again);
  EXPECT_EQ(gguf_error(file({}, {gguf_tensor("t", {64}, 0, 0)}, 255)),
            "error[gguf.truncated]: a tensor goes past the end of the file\n"
            "  where:    m.gguf: tensor \"t\"\n"
            "  expected: 256 bytes from byte 64   actual: a file of 319 bytes\n"
            "  hint:     the file was cut off; copy or download it again");
}

TEST(GgufErrors, LiesOfEveryKindAreRefused) {
  const std::uint64_t huge = std::uint64_t{1} << 62U;
  const std::string number = packed(std::uint32_t{7});
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"gguf.magic", ""},
      {"gguf.version", file({}, {}, 0, 1)},
      {"gguf.truncated", "GGUF" + packed(3) + packed(huge) + packed(std::uint64_t{0})},
      {"gguf.truncated", "GGUF" + packed(3) + packed(std::uint64_t{0}) + packed(huge)},
      {"gguf.truncated", file({packed(huge) + "key"}, {}, 0)},
      {"gguf.truncated", file({key("k", 9, packed(4) + packed(huge))}, {}, 0)},
      {"gguf.value", file({key("k", 13, number)}, {}, 0)},
      {"gguf.value", file({key("k", 9, packed(9) + packed(std::uint64_t{0}))}, {}, 0)},
      {"gguf.value",
       file({key("k", 9, packed(99) + packed(std::uint64_t{1}) + packed(huge))}, {}, 0)},
      {"gguf.alignment", file({key("general.alignment", 4, packed(std::uint32_t{0}))}, {}, 0)},
      {"gguf.alignment", file({key("general.alignment", 4, packed(std::uint32_t{24}))}, {}, 0)},
      {"gguf.alignment", file({key("general.alignment", 8, gguf_text("32"))}, {}, 0)},
      {"gguf.shape", file({}, {gguf_tensor("t", {1, 1, 1, 1, 1}, 0, 0)}, 32)},
      {"gguf.shape", file({}, {gguf_tensor("t", {huge, 4}, 0, 0)}, 32)},
      {"gguf.shape", file({}, {gguf_tensor("t", {huge, 1}, 28, 0)}, 32)},
      {"gguf.type", file({}, {gguf_tensor("t", {1}, 4, 0)}, 32)},
      {"gguf.repeated", file({}, {gguf_tensor("t", {1}, 0, 0), gguf_tensor("t", {1}, 0, 32)}, 64)},
      {"gguf.offset", file({}, {gguf_tensor("t", {1}, 0, 32)}, 64)},
      {"gguf.truncated", file({}, {gguf_tensor("t", {9}, 0, 0)}, 32)},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::string error = gguf_error(cases[i].second);
    EXPECT_TRUE(error.starts_with("error[" + cases[i].first + "]")) << i << ": " << error;
  }
}

TEST(GgufErrors, ATypeThatIsNotReadIsNamedWhenItsNumbersAreAskedFor) {
  const TempFolder folder;
  const GgufFile gguf =
      GgufFile::open(folder.write("m.gguf", file({}, {gguf_tensor("t", {256}, 16, 0)}, 66)));
  std::vector<float> out(256);
  const std::string error =
      folder.error_of([&] { gguf.rows(gguf.header().tensors.front(), 0, 1, out.data()); });
  EXPECT_NE(error.find("numbers stored as IQ2_XXS are not read"), std::string::npos) << error;
}

}  // namespace
}  // namespace mg
