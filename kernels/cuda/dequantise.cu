// Codes to values on the device: what kernels/core/dequantise.cc computes, product by product, in
// the same order and rounding, so that a weight has the same bits wherever it was decoded.
//
// Bound by the memory it writes.  A thread takes four elements at a time, which share a block's
// scale, and writes them at once; the tables are small enough to stay in the first cache.
#include <bit>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/scalar.cuh"

namespace mg::cuda {
namespace {

constexpr unsigned kDecodeThreads = 256;
constexpr unsigned kDecodeUnroll = 4;
constexpr int kTogether = 4;
constexpr unsigned kDecodeChunk = kDecodeThreads * kDecodeUnroll * kTogether;

/// Written by one instruction.
template <typename T>
struct alignas(kTogether * sizeof(T)) Together {
  T values[kTogether];
};

/// A power of two that divides: i / size == i >> shift.
int shift_of(std::int64_t size) {
  return std::countr_zero(static_cast<std::uint64_t>(size));
}

struct FourBits {
  FourBitMatrix matrix;
  int block_shift = 0;
  int nested_shift = 0;

  __device__ __forceinline__ float scale(std::int64_t r, std::int64_t c) const {
    const std::int64_t block = matrix.blocks_by_row
                                   ? r * (matrix.cols >> block_shift) + (c >> block_shift)
                                   : (r * matrix.cols + c) >> block_shift;
    if (matrix.nested_levels == nullptr) {
      return reinterpret_cast<const float*>(matrix.absmax)[block];
    }
    const auto code = reinterpret_cast<const std::uint8_t*>(matrix.absmax)[block];
    const float product =
        reinterpret_cast<const float*>(matrix.nested_levels)[code] *
        reinterpret_cast<const float*>(matrix.nested_absmax)[block >> nested_shift];
    return product + matrix.nested_offset;
  }
  __device__ __forceinline__ float one(std::int64_t r, std::int64_t c) const {
    const std::int64_t i = r * matrix.cols + c;
    const unsigned pair = reinterpret_cast<const std::uint8_t*>(matrix.codes)[i >> 1];
    return matrix.levels[(i & 1) == 0 ? pair >> 4 : pair & 15U] * scale(r, c);
  }
  /// c a multiple of four, and so is the matrix's width: the codes fill two bytes.
  __device__ __forceinline__ void four(std::int64_t r, std::int64_t c, float (&out)[4]) const {
    const std::int64_t i = r * matrix.cols + c;
    const unsigned pairs = reinterpret_cast<const std::uint16_t*>(matrix.codes)[i >> 2];
    const float factor = scale(r, c);
    out[0] = matrix.levels[(pairs >> 4) & 15U] * factor;
    out[1] = matrix.levels[pairs & 15U] * factor;
    out[2] = matrix.levels[pairs >> 12] * factor;
    out[3] = matrix.levels[(pairs >> 8) & 15U] * factor;
  }
};

struct EightBits {
  EightBitMatrix matrix;

  __device__ __forceinline__ std::int64_t index(std::int64_t r, std::int64_t c) const {
    return matrix.col32 ? (((c >> 5) * matrix.rows + r) << 5) + (c & 31) : r * matrix.cols + c;
  }
  static __device__ __forceinline__ float value(unsigned code, float scale) {
    return static_cast<float>(static_cast<std::int8_t>(code & 255U)) * scale / 127.0F;
  }
  __device__ __forceinline__ float one(std::int64_t r, std::int64_t c) const {
    return value(reinterpret_cast<const std::uint8_t*>(matrix.codes)[index(r, c)],
                 reinterpret_cast<const float*>(matrix.scale)[r]);
  }
  __device__ __forceinline__ void four(std::int64_t r, std::int64_t c, float (&out)[4]) const {
    const std::uint32_t codes =
        reinterpret_cast<const std::uint32_t*>(matrix.codes)[index(r, c) >> 2];
    const float factor = reinterpret_cast<const float*>(matrix.scale)[r];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      out[i] = value(codes >> (8 * i), factor);
    }
  }
};

template <typename T, typename Codes>
__global__ void dequantise_kernel(Codes codes, std::int64_t begin, std::int64_t cols, T* out,
                                  std::int64_t stride, unsigned chunks) {
  const std::int64_t row = blockIdx.x / chunks;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x % chunks) * kDecodeChunk;
  T* const line = out + row * stride;
#pragma unroll
  for (unsigned u = 0; u < kDecodeUnroll; ++u) {
    const std::int64_t col = first + (u * kDecodeThreads + threadIdx.x) * kTogether;
    if (cols % kTogether == 0) {
      if (col < cols) {
        float values[kTogether];
        codes.four(begin + row, col, values);
        Together<T> narrowed;
#pragma unroll
        for (int i = 0; i < kTogether; ++i) {
          narrow(values[i], narrowed.values[i]);
        }
        *reinterpret_cast<Together<T>*>(line + col) = narrowed;
      }
    } else {  // blocks and bytes end anywhere
      for (int i = 0; i < kTogether && col + i < cols; ++i) {
        narrow(codes.one(begin + row, col + i), line[col + i]);
      }
    }
  }
}

template <typename Codes>
void decode(const Codes& codes, std::int64_t cols, std::int64_t begin, std::int64_t count,
            void* out, std::int64_t stride, Element element, cudaStream_t stream) {
  const auto chunks = static_cast<unsigned>((cols + kDecodeChunk - 1) / kDecodeChunk);
  const Shape3 shape{dim3(static_cast<unsigned>(count) * chunks), dim3(kDecodeThreads), 0};
  with_element(element, [&]<typename T>(T) {
    launch("dequantise", shape, stream, dequantise_kernel<T, Codes>, codes, begin, cols,
           static_cast<T*>(out), stride, chunks);
  });
}

}  // namespace

void dequantise(const FourBitMatrix& matrix, std::int64_t begin, std::int64_t count, void* out,
                std::int64_t stride, Element element, cudaStream_t stream) {
  const bool nested = matrix.nested_levels != nullptr;
  const FourBits codes{matrix, shift_of(matrix.block), nested ? shift_of(matrix.nested_block) : 0};
  decode(codes, matrix.cols, begin, count, out, stride, element, stream);
}

void dequantise(const EightBitMatrix& matrix, std::int64_t begin, std::int64_t count, void* out,
                std::int64_t stride, Element element, cudaStream_t stream) {
  decode(EightBits{matrix}, matrix.cols, begin, count, out, stride, element, stream);
}

}  // namespace mg::cuda
