// The decoding kernel alone against kernels/core/dequantise.h: the same bits for every form, block
// size and shape, scales that are not numbers among them, and for rows from anywhere on.
#include "kernels/cuda/dequantise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <vector>

#include "kernels/core/half.h"
#include "tests/core/code_bytes.h"
#include "tests/cuda_on_host/machine.h"

namespace mg::cuda {
namespace {

using test::random_bytes;
using test::random_scales;

std::uint32_t stored(float value, Element element) {
  return element == Element::kF32   ? std::bit_cast<std::uint32_t>(value)
         : element == Element::kF16 ? float_to_half(value)
                                    : float_to_bf16(value);
}

class DequantiseTest : public testing::Test {
 protected:
  void SetUp() override { start({}); }
  void TearDown() override {
    finish();
    EXPECT_THAT(cuda_on_host::take_failures(), testing::IsEmpty());
    EXPECT_EQ(cuda_on_host::counts().allocations, 0U);
  }
  void start(const cuda_on_host::Settings& settings) {
    finish();
    cuda_on_host::reset(settings);
    cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
  }
  void finish() {
    if (stream_ != nullptr) {
      cudaStreamDestroy(std::exchange(stream_, nullptr));
    }
  }

  /// Rows [begin, end) as the kernel writes them, bit patterns, without what lies between rows.
  std::vector<std::uint32_t> decode(const WeightCodes& codes, std::int64_t cols, std::int64_t begin,
                                    std::int64_t end, Element element) {
    const Parcel parcel = parcel_of(codes);
    const std::int64_t unit = 16 / element_bytes(element);
    const std::int64_t stride = (cols + unit - 1) / unit * unit;
    const auto size = static_cast<std::size_t>(element_bytes(element));
    const std::size_t bytes = static_cast<std::size_t>((end - begin) * stride) * size;
    void* packed = nullptr;
    void* memory = nullptr;
    void* out = nullptr;
    cudaMallocHost(&packed, std::max(parcel.bytes, bytes));
    std::memset(packed, 0, std::max(parcel.bytes, bytes));
    for (const Parcel::Part& part : parcel.parts) {
      std::memcpy(static_cast<std::byte*>(packed) + part.at, part.from, part.bytes);
    }
    cudaMallocAsync(&memory, parcel.bytes, stream_);
    cudaMallocAsync(&out, bytes, stream_);
    cudaMemsetAsync(out, 0, bytes, stream_);  // the gaps are read below
    cudaMemcpyAsync(memory, packed, parcel.bytes, cudaMemcpyHostToDevice, stream_);
    DeviceCodes(codes, memory).decode(begin, end - begin, out, stride, element, stream_);
    cudaMemcpyAsync(packed, out, bytes, cudaMemcpyDeviceToHost, stream_);
    cudaStreamSynchronize(stream_);
    std::vector<std::uint32_t> bits;
    for (std::int64_t i = 0; i < (end - begin) * cols; ++i) {
      const auto at = static_cast<std::size_t>(i / cols * stride + i % cols);
      std::uint32_t pattern = 0;
      std::memcpy(&pattern, static_cast<std::byte*>(packed) + at * size, size);
      bits.push_back(pattern);
    }
    cudaFreeAsync(memory, stream_);
    cudaFreeAsync(out, stream_);
    cudaStreamSynchronize(stream_);
    cudaFreeHost(packed);
    return bits;
  }

  template <typename Matrix>
  void check(const Matrix& matrix, const WeightCodes& codes) {
    for (const Element element : {Element::kF32, Element::kF16, Element::kBf16}) {
      for (const std::int64_t begin : {std::int64_t{0}, matrix.rows / 2}) {
        std::vector<float> values(static_cast<std::size_t>((matrix.rows - begin) * matrix.cols));
        dequantise_rows(matrix, begin, matrix.rows, values.data());
        std::vector<std::uint32_t> expected;
        for (const float value : values) {
          expected.push_back(stored(value, element));
        }
        EXPECT_EQ(decode(codes, matrix.cols, begin, matrix.rows, element), expected)
            << matrix.rows << " x " << matrix.cols << " from row " << begin << ", element "
            << static_cast<int>(element);
      }
    }
  }

  cudaStream_t stream_ = nullptr;
};

struct CodesSize {
  std::int64_t rows, cols;
};
constexpr CodesSize kSizes[] = {{4, 128}, {5, 112},  {3, 13},   {7, 1},
                                {3, 66},  {2, 4100}, {1, 5001}, {40, 36}};

TEST_F(DequantiseTest, FourBitsHaveTheHostsBits) {
  for (const CodesSize& size : kSizes) {
    const std::int64_t elements = size.rows * size.cols;
    const std::vector<std::byte> codes =
        random_bytes(static_cast<std::size_t>((elements + 1) / 2), 1);
    const std::vector<std::byte> absmax = random_scales(elements / 32 + 1);
    const std::vector<std::byte> levels = random_scales(256);
    for (const std::int64_t block : {32, 64, 128, 512, 4096}) {
      for (const bool by_row : {false, true}) {
        SCOPED_TRACE(testing::Message() << "blocks of " << block << (by_row ? " by row" : ""));
        FourBitMatrix matrix{.rows = size.rows,
                             .cols = size.cols,
                             .codes = codes.data(),
                             .levels = (by_row ? kFp4Levels : kNf4Levels).data(),
                             .block = block,
                             .blocks_by_row = by_row,
                             .absmax = absmax.data() + 1};
        check(matrix, {&matrix, nullptr});
        const std::vector<std::byte> scale_codes =
            random_bytes(static_cast<std::size_t>(matrix.blocks()), 2);
        matrix.absmax = scale_codes.data();
        matrix.nested_levels = levels.data() + 1;
        matrix.nested_absmax = absmax.data() + 1;
        matrix.nested_block = 32;
        matrix.nested_offset = 0.3F;
        check(matrix, {&matrix, nullptr});
      }
    }
  }
}

TEST_F(DequantiseTest, EightBitsHaveTheHostsBits) {
  for (const CodesSize& size : {CodesSize{9, 96}, {4, 128}, {5, 7}, {3, 4100}, {66, 1}}) {
    const std::vector<std::byte> codes =
        random_bytes(static_cast<std::size_t>(size.rows * size.cols), 3);
    const std::vector<std::byte> scale = random_scales(size.rows);
    for (const bool col32 : {false, true}) {
      if (!col32 || size.cols % 32 == 0) {
        const EightBitMatrix matrix{.rows = size.rows,
                                    .cols = size.cols,
                                    .codes = codes.data(),
                                    .scale = scale.data() + 1,
                                    .col32 = col32};
        check(matrix, {nullptr, &matrix});
      }
    }
  }
}

TEST_F(DequantiseTest, APartStandsWhereItMayBeReadWhole) {
  const std::vector<std::byte> codes = random_bytes(999, 1);
  const std::vector<std::byte> scales = random_scales(256);
  FourBitMatrix matrix{.rows = 27,
                       .cols = 37,
                       .codes = codes.data() + 1,
                       .levels = kNf4Levels.data(),
                       .block = 64,
                       .absmax = codes.data(),
                       .nested_levels = scales.data() + 1,
                       .nested_absmax = scales.data() + 5,
                       .nested_block = 256};
  const Parcel parcel = parcel_of(WeightCodes{&matrix, nullptr});
  std::vector<std::size_t> bytes;
  for (const Parcel::Part& part : parcel.parts) {
    EXPECT_EQ(part.at % 256, 0U);
    bytes.push_back(part.bytes);
  }
  // 999 codes, 16 levels, 16 scales as codes, their 256 levels, one scale of scales.
  EXPECT_THAT(bytes, testing::ElementsAre(500, 64, 16, 1024, 4));
  EXPECT_EQ(parcel.bytes, parcel.parts.back().at + 4);
}

}  // namespace
}  // namespace mg::cuda
