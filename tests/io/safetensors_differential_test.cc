// The reader against the reference implementation: recorded verdicts of safetensors 0.8.0 on
// mutated files (make_safetensors_corpus.py), and for accepted files everything that was read.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/safetensors.h"
#include "kernels/core/dtype.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

std::vector<std::byte> from_hex(const std::string& text) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

std::string to_hex(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<std::size_t>(byte >> 4)];
    text += kDigits[std::to_integer<std::size_t>(byte & std::byte{15})];
  }
  return text;
}

// What was read, in the corpus's form: name -> [dtype, shape, data].
nlohmann::json describe(const SafetensorsHeader& header, std::span<const std::byte> file) {
  nlohmann::json tensors = nlohmann::json::object();
  for (const SafetensorsRecord& record : header.records) {
    const auto data = file.subspan(header.data_begin + record.begin, record.end - record.begin);
    tensors[record.name] = {dtype_name(record.dtype), record.shape, to_hex(data)};
  }
  return tensors;
}

// Where this reader is stricter on purpose (safetensors_header.cc); everything else must agree.
bool refused_on_purpose(const nlohmann::json& line, const std::string& code) {
  if (code == "safetensors.duplicate-key") {
    return line.at("repeated").get<bool>();
  }
  if (code == "safetensors.dimension") {
    for (const auto& [name, tensor] : line.at("tensors").items()) {
      for (const nlohmann::json& dim : tensor.at(1)) {
        if (dim.get<std::uint64_t>() > INT64_MAX) {
          return true;
        }
      }
    }
  }
  return false;
}

TEST(SafetensorsDifferential, AgreesWithTheReferenceOnEveryFile) {
  std::ifstream corpus(MG_TEST_DATA "/io/safetensors_corpus.jsonl");
  std::string text;
  ASSERT_TRUE(std::getline(corpus, text));
  const auto expected_cases = nlohmann::json::parse(text).at("cases").get<int>();
  std::map<std::string, int> counts;
  int cases = 0;
  while (std::getline(corpus, text)) {
    const nlohmann::json line = nlohmann::json::parse(text);
    SCOPED_TRACE(line.at("name").get<std::string>());
    const std::vector<std::byte> file = from_hex(line.at("file").get<std::string>());
    const bool accepted = line.at("accepted").get<bool>();
    ++cases;
    try {
      const SafetensorsHeader header = parse_safetensors(file, "case.safetensors");
      ++counts["accepted"];
      ASSERT_TRUE(accepted) << "the reference refuses it: " << line.at("error");
      EXPECT_FALSE(line.at("repeated").get<bool>());
      EXPECT_EQ(describe(header, file), line.at("tensors"));
      EXPECT_EQ(header.has_metadata, !line.at("metadata").is_null());
      if (header.has_metadata) {
        EXPECT_EQ(nlohmann::json(header.metadata), line.at("metadata"));
      }
    } catch (const Error& error) {
      ++counts[error.parts().code];
      EXPECT_EQ(error.kind(), ErrorKind::kInput) << error.what();
      EXPECT_TRUE(!accepted || refused_on_purpose(line, error.parts().code)) << error.what();
    }
  }
  EXPECT_EQ(cases, expected_cases);
  EXPECT_GE(cases, 700);
  // The corpus has to reach every kind of refusal, or the agreement above says little.
  for (const char* code : {"too-small", "header-too-large", "header-truncated", "header-utf8",
                           "header-json", "header-structure", "duplicate-key", "unknown-dtype",
                           "dimension", "offsets-reversed", "overlap", "hole", "size-overflow",
                           "size-mismatch", "sub-byte", "truncated", "trailing-bytes"}) {
    EXPECT_GT(counts[std::string("safetensors.") + code], 0) << code;
  }
}

}  // namespace
}  // namespace mg
