#include "harness/io/safetensors.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/io/temp_folder.h"

namespace mg {
namespace {

SafetensorsHeader parse(const std::string& bytes) {
  return parse_safetensors({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()},
                           "m.safetensors");
}

std::string error_of(const std::string& bytes) {
  const TempFolder folder;
  return folder.error_of([&] { parse(bytes); });
}

// A file with one tensor "t" of these fields and `data` bytes.
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets,
                std::size_t data) {
  return safetensors_bytes(R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape +
                               R"(,"data_offsets":)" + offsets + "}}",
                           std::string(data, 'x'));
}

// Two F32 tensors [1] at these offsets.
std::string two(const std::string& first, const std::string& second, std::size_t data) {
  return safetensors_bytes(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":)" + first +
                               R"(},"u":{"dtype":"F32","shape":[1],"data_offsets":)" + second +
                               "}}",
                           std::string(data, 'x'));
}

TEST(Safetensors, GivesRecordsInTheOrderOfTheirData) {
  const SafetensorsHeader header = parse(two("[4,8]", "[0,4]", 8));
  ASSERT_EQ(header.records.size(), 2U);
  EXPECT_EQ(header.records[0].name, "u");
  EXPECT_EQ(header.records[1].name, "t");
  EXPECT_EQ(header.records[1].begin, 4U);
  EXPECT_FALSE(header.has_metadata);
}

TEST(Safetensors, ViewsPointAtTheTensorsBytes) {
  const TempFolder folder;
  const SafetensorsFile file = SafetensorsFile::open(
      folder.write_tensors("m.safetensors", {{"a", {2}}, {"b", {2, 3}, DType::kU8}, {"c", {0}}}));
  EXPECT_EQ(file.header().metadata.at("format"), "pt");
  for (const SafetensorsRecord& record : file.header().records) {
    const TensorView view = file.view(record);
    EXPECT_EQ(view.bytes, record.end - record.begin);
    if (record.name == "b") {
      EXPECT_EQ(view.shape, (Shape{2, 3}));
      EXPECT_EQ(std::to_integer<int>(view.data[5]), 13);
    }
  }
}

TEST(Safetensors, TheLongestHeaderAllowedIsRead) {
  // 100,000,000 bytes, as in the reference; one more is refused before anything is read.
  std::string header(100'000'000, ' ');
  header.replace(0, 2, "{}");
  EXPECT_TRUE(parse(safetensors_bytes(header)).records.empty());
  header += ' ';
  EXPECT_EQ(
      error_of(safetensors_bytes(header)),
      "error[safetensors.header-too-large]: the header's length is beyond what the format allows\n"
      "  where:    m.safetensors\n"
      "  expected: at most 100000000 bytes   actual: 100000001 bytes\n"
      "  hint:     this is not a safetensors file, or its first bytes are damaged");
}

TEST(SafetensorsErrors, FilesThatAreSomethingElse) {
  EXPECT_EQ(error_of("{}"),
            "error[safetensors.too-small]: the file is too small to be a safetensors file\n"
            "  where:    m.safetensors\n"
            "  expected: at least 8 bytes   actual: 2 bytes\n"
            "  hint:     an interrupted download or save: fetch or export the file again");
  const auto hint = [](const std::string& bytes) {
    const std::string text = error_of(bytes);
    return text.substr(text.find("hint:"));
  };
  EXPECT_EQ(hint("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
            "hint:     this is a Git LFS pointer, not the file: run `git lfs pull`");
  EXPECT_EQ(hint(std::string("GGUF\3\0\0\0 and more", 17)),
            "hint:     this is a GGUF file under another name");
  EXPECT_EQ(hint("PK\3\4 and more, a zip file"),
            "hint:     this is a PyTorch pickle (zip) under another name");
}

TEST(SafetensorsErrors, HeaderThatDoesNotFit) {
  const std::string whole = one("F32", "[1]", "[0,4]", 4);
  EXPECT_EQ(error_of(whole.substr(0, 30)),
            "error[safetensors.header-truncated]: the file ends inside its header\n"
            "  where:    m.safetensors\n"
            "  expected: 62 bytes or more   actual: 30 bytes\n"
            "  hint:     an interrupted download or save: fetch or export the file again");
  EXPECT_EQ(
      error_of(safetensors_bytes("{\"t\":")),
      "error[safetensors.header-json]: the header is not valid JSON\n"
      "  where:    m.safetensors, byte 13\n"
      "  actual:   while parsing value - unexpected end of input; expected '[', '{', or a literal\n"
      "  hint:     the file is damaged or no safetensors file: fetch or export it again");
  EXPECT_EQ(
      error_of(safetensors_bytes("{\"\xFF\":1}")),
      "error[safetensors.header-utf8]: the header is not valid UTF-8\n"
      "  where:    m.safetensors, byte 10\n"
      "  actual:   while parsing object key - invalid string: ill-formed UTF-8 byte; last read: "
      "'\"\xFF'; expected string literal\n"
      "  hint:     the file is damaged or no safetensors file: fetch or export it again");
}

TEST(SafetensorsErrors, RecordsOfTheWrongForm) {
  EXPECT_EQ(
      error_of(safetensors_bytes("[]")),
      "error[safetensors.header-structure]: the header is not an object\n"
      "  where:    m.safetensors\n"
      "  expected: {...}   actual: a list\n"
      "  hint:     the file was not written by safetensors: export it again with save_pretrained");
  EXPECT_EQ(
      error_of(one("F32", "[-1]", "[0,4]", 4)),
      "error[safetensors.header-structure]: a dimension is not a non-negative integer\n"
      "  where:    m.safetensors, t\n"
      "  expected: an integer from 0 to 2^64-1   actual: the number -1\n"
      "  hint:     the file was not written by safetensors: export it again with save_pretrained");
  EXPECT_EQ(
      error_of(safetensors_bytes(R"({"t":{"dtype":"F32","shape":[1]}})")),
      "error[safetensors.header-structure]: the tensor has no data_offsets\n"
      "  where:    m.safetensors, t\n"
      "  expected: dtype, shape and data_offsets\n"
      "  hint:     the file was not written by safetensors: export it again with save_pretrained");
  EXPECT_EQ(
      error_of(safetensors_bytes(R"({"__metadata__":{"a":1}})")),
      "error[safetensors.header-structure]: the metadata entry \"a\" is no text\n"
      "  where:    m.safetensors, __metadata__\n"
      "  expected: a string   actual: the number 1\n"
      "  hint:     the file was not written by safetensors: export it again with save_pretrained");
  EXPECT_EQ(error_of(one("f32", "[1]", "[0,4]", 4)),
            "error[safetensors.unknown-dtype]: the format has no such dtype\n"
            "  where:    m.safetensors, t\n"
            "  expected: BF16, F16, F32, U8, ... (in capitals)   actual: \"f32\"");
}

TEST(SafetensorsErrors, NamesGivenTwice) {
  const std::string t = R"("t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  EXPECT_EQ(error_of(safetensors_bytes("{" + t + "," + t + "}", "1234")),
            "error[safetensors.duplicate-key]: the header names a tensor twice\n"
            "  where:    m.safetensors, t\n"
            "  hint:     the reference reader silently keeps the last: export the file again");
}

TEST(SafetensorsErrors, TensorsInTheWrongPlace) {
  EXPECT_EQ(
      error_of(two("[0,4]", "[2,6]", 6)),
      "error[safetensors.overlap]: the tensor shares bytes with t\n"
      "  where:    m.safetensors, u\n"
      "  expected: begin at byte 4   actual: begin at byte 2\n"
      "  hint:     tensors may not share storage: save with safetensors.torch.save_model, or clone "
      "tied tensors before saving");
  EXPECT_EQ(error_of(two("[0,4]", "[6,10]", 10)),
            "error[safetensors.hole]: 2 bytes before the tensor belong to none\n"
            "  where:    m.safetensors, u\n"
            "  expected: begin at byte 4   actual: begin at byte 6\n"
            "  hint:     the header is damaged or was edited: export the file again");
  EXPECT_EQ(error_of(two("[0,4]", "[8,4]", 8)),
            "error[safetensors.offsets-reversed]: a tensor ends before it begins\n"
            "  where:    m.safetensors, u\n"
            "  expected: data_offsets [begin, end] with begin <= end   actual: [8, 4]\n"
            "  hint:     the header is damaged: export the file again");
  EXPECT_EQ(error_of(two("[0,4]", "[4,8]", 7)),
            "error[safetensors.truncated]: the file ends before its last tensor does\n"
            "  where:    m.safetensors, u\n"
            "  expected: 123 bytes   actual: 122 bytes\n"
            "  hint:     an interrupted download or save: fetch or export the file again");
  EXPECT_EQ(
      error_of(two("[0,4]", "[4,8]", 9)),
      "error[safetensors.trailing-bytes]: 1 bytes after the last tensor belong to none\n"
      "  where:    m.safetensors\n"
      "  expected: 123 bytes   actual: 124 bytes\n"
      "  hint:     something was appended, or the header lost tensors: export the file again");
}

TEST(SafetensorsErrors, TensorsOfTheWrongSize) {
  EXPECT_EQ(error_of(one("BF16", "[3]", "[0,4]", 4)),
            "error[safetensors.size-mismatch]: the tensor's bytes do not fit its shape and dtype\n"
            "  where:    m.safetensors, t\n"
            "  expected: 6 bytes for BF16 [3]   actual: 4 bytes\n"
            "  hint:     the header is damaged: export the file again");
  EXPECT_EQ(error_of(one("F4", "[3]", "[0,1]", 1)),
            "error[safetensors.sub-byte]: the tensor's last element does not end at a byte\n"
            "  where:    m.safetensors, t\n"
            "  expected: a whole number of bytes   actual: 12 bits (F4 [3])\n"
            "  hint:     packed types need a number of elements that fills bytes");
  EXPECT_EQ(error_of(one("F64", "[4294967296,4294967296]", "[0,8]", 8)),
            "error[safetensors.size-overflow]: the tensor's size does not fit in 64 bits\n"
            "  where:    m.safetensors, t\n"
            "  expected: a product of dimensions and element size below 2^64 bits   "
            "actual: F64 [4294967296, 4294967296]\n"
            "  hint:     the header is damaged: export the file again");
  EXPECT_EQ(error_of(one("F32", "[0,9223372036854775808]", "[0,0]", 0)),
            "error[safetensors.dimension]: a dimension is larger than any tensor\n"
            "  where:    m.safetensors, t\n"
            "  expected: at most 2^63-1   actual: 9223372036854775808");
}

}  // namespace
}  // namespace mg
