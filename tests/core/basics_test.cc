// dtype.h, shape.h, error.h, hash.h.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/core/error.h"
#include "kernels/core/hash.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

constexpr int kDTypes = static_cast<int>(DType::kC64) + 1;

TEST(DType, NamesRoundTripAndDiffer) {
  for (int i = 0; i < kDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype) << dtype_name(dtype);
  }
}

TEST(DType, UnknownNamesAreNothing) {
  for (const char* name : {"", "f16", "F16 ", "FP16", "BF16X"}) {
    EXPECT_EQ(dtype_from_name(name), std::nullopt) << name;
  }
}

TEST(DType, WidthsAreThoseInTheName) {
  // Every name but BOOL carries its width: "BF16", "F8_E4M3", "F6_E2M3".
  for (int i = 1; i < kDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    const std::string name(dtype_name(dtype));
    EXPECT_EQ(std::stoll(name.substr(name.find_first_of("0123456789"))), dtype_bits(dtype)) << name;
  }
  EXPECT_EQ(dtype_bits(DType::kBool), 8);
}

TEST(CheckedMul, StopsAtSixtyThreeBits) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(checked_mul(3, 5), 15);
  EXPECT_EQ(checked_mul(kMax, 1), kMax);
  EXPECT_EQ(checked_mul(kMax, 0), 0);
  EXPECT_EQ(checked_mul(std::int64_t{1} << 31, std::int64_t{1} << 31), std::int64_t{1} << 62);
  EXPECT_EQ(checked_mul(std::int64_t{1} << 32, std::int64_t{1} << 31), std::nullopt);
  EXPECT_EQ(checked_mul(kMax, 2), std::nullopt);
  EXPECT_EQ(checked_mul(-1, 5), std::nullopt);
  EXPECT_EQ(checked_mul(5, -1), std::nullopt);
}

TEST(ElementCount, IsTheProductOrNothing) {
  EXPECT_EQ(element_count({}), 1);
  EXPECT_EQ(element_count({16, 896}), 14336);
  EXPECT_EQ(element_count({16, 0, 896}), 0);
  EXPECT_EQ(element_count({std::int64_t{1} << 40, std::int64_t{1} << 40}), std::nullopt);
  EXPECT_EQ(element_count({2, -3}), std::nullopt);
}

TEST(ShapeText, IsWhatPeopleWrite) {
  EXPECT_EQ(to_string(Shape{}), "[]");
  EXPECT_EQ(to_string(Shape{7}), "[7]");
  EXPECT_EQ(to_string(Shape{16, 896}), "[16, 896]");
}

TEST(ErrorText, ShowsAllFiveParts) {
  const Error error({.code = "adapter.rank-mismatch",
                     .what = "lora_A has rank 8, adapter_config.json says r = 16",
                     .where = "adapter_model.safetensors, q_proj.lora_A.weight",
                     .expected = "[16, 896]",
                     .actual = "[8, 896]",
                     .hint = "re-export the adapter"});
  EXPECT_STREQ(error.what(),
               "error[adapter.rank-mismatch]: lora_A has rank 8, adapter_config.json says r = 16\n"
               "  where:    adapter_model.safetensors, q_proj.lora_A.weight\n"
               "  expected: [16, 896]   actual: [8, 896]\n"
               "  hint:     re-export the adapter");
  EXPECT_EQ(error.kind(), ErrorKind::kInput);
}

TEST(ErrorText, LeavesEmptyPartsOut) {
  const auto render = [](ErrorParts parts) { return render_error(parts); };
  EXPECT_EQ(
      render({.code = "c", .what = "w", .where = {}, .expected = {}, .actual = {}, .hint = {}}),
      "error[c]: w");
  EXPECT_EQ(
      render({.code = "c", .what = "w", .where = {}, .expected = "e", .actual = {}, .hint = {}}),
      "error[c]: w\n  expected: e");
  EXPECT_EQ(
      render({.code = "c", .what = "w", .where = {}, .expected = {}, .actual = "a", .hint = {}}),
      "error[c]: w\n  actual:   a");
}

TEST(Check, AFailureIsOurOwnFault) {
  const int two = 2;
  try {
    MG_CHECK(two == 3, "two is three");
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInternal);
    EXPECT_EQ(error.parts().code, "internal.check");
    EXPECT_EQ(error.parts().what, "two is three");
    EXPECT_EQ(error.parts().expected, "two == 3");
    EXPECT_THAT(error.parts().where, testing::MatchesRegex(".*basics_test\\.cc:[0-9]+"));
  }
}

TEST(Fingerprint, SeesEveryByteItsPlaceAndTheLength) {
  std::vector<unsigned char> bytes(67);
  const std::uint64_t zeros = fingerprint(bytes.data(), bytes.size());
  std::vector<std::uint64_t> seen{zeros, fingerprint(bytes.data(), bytes.size() - 1)};
  for (unsigned char& byte : bytes) {
    byte = 1;
    seen.push_back(fingerprint(bytes.data(), bytes.size()));
    byte = 0;
  }
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end());
  EXPECT_EQ(fingerprint(bytes.data(), bytes.size()), zeros);
}

TEST(Fingerprint, ChainsInSteps) {
  // In words of eight bytes, so that a tensor's pieces give the whole's value.
  std::vector<unsigned char> bytes(64);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<unsigned char>(i * 37);
  }
  EXPECT_EQ(fingerprint(bytes.data() + 24, 40, fingerprint(bytes.data(), 24)),
            fingerprint(bytes.data(), 64));
}

}  // namespace
}  // namespace mg
