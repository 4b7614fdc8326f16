#include "kernels/cuda/dequantise.h"

#include "kernels/core/error.h"

namespace mg::cuda {
namespace {

constexpr std::size_t kPartAlignment = 256;

std::size_t to_bytes(std::int64_t elements, std::size_t size) {
  return static_cast<std::size_t>(elements) * size;
}

/// visit(pointer&, bytes) for every part that there is, the codes first.
template <typename Visit>
void for_each_part(FourBitMatrix& matrix, const Visit& visit) {
  constexpr std::int64_t kNestedLevels = 256;
  const std::int64_t blocks = matrix.blocks();
  visit(matrix.codes, to_bytes((matrix.rows * matrix.cols + 1) / 2, 1));
  visit(matrix.levels, to_bytes(16, sizeof(float)));
  if (matrix.nested_levels == nullptr) {
    visit(matrix.absmax, to_bytes(blocks, sizeof(float)));
    return;
  }
  visit(matrix.absmax, to_bytes(blocks, 1));
  visit(matrix.nested_levels, to_bytes(kNestedLevels, sizeof(float)));
  visit(matrix.nested_absmax,
        to_bytes((blocks + matrix.nested_block - 1) / matrix.nested_block, sizeof(float)));
}

template <typename Visit>
void for_each_part(EightBitMatrix& matrix, const Visit& visit) {
  visit(matrix.codes, to_bytes(matrix.rows * matrix.cols, 1));
  visit(matrix.scale, to_bytes(matrix.rows, sizeof(float)));
}

std::size_t next_part(std::size_t end) {
  return (end + kPartAlignment - 1) / kPartAlignment * kPartAlignment;
}

template <typename Matrix>
Parcel pack(Matrix matrix) {
  Parcel parcel;
  for_each_part(matrix, [&](const auto* part, std::size_t bytes) {
    const std::size_t at = next_part(parcel.bytes);
    parcel.parts.push_back({reinterpret_cast<const std::byte*>(part), bytes, at});
    parcel.bytes = at + bytes;
  });
  return parcel;
}

/// The matrix with its parts where pack() puts them.
template <typename Matrix>
Matrix placed(Matrix matrix, const std::byte* memory) {
  std::size_t end = 0;
  for_each_part(matrix, [&](auto*& part, std::size_t bytes) {
    const std::size_t at = next_part(end);
    part = reinterpret_cast<std::remove_reference_t<decltype(part)>>(memory + at);
    end = at + bytes;
  });
  return matrix;
}

}  // namespace

Parcel parcel_of(const TensorView& values) {
  return {{{values.data, values.bytes, 0}}, values.bytes};
}

Parcel parcel_of(const WeightCodes& codes) {
  MG_CHECK(!codes.empty(), "there are codes");
  return codes.four_bit != nullptr ? pack(*codes.four_bit) : pack(*codes.eight_bit);
}

DeviceCodes::DeviceCodes(const WeightCodes& codes, const void* memory) {
  const auto* bytes = static_cast<const std::byte*>(memory);
  if (codes.four_bit != nullptr) {
    matrix_ = placed(*codes.four_bit, bytes);
  } else {
    matrix_ = placed(*codes.eight_bit, bytes);
  }
}

void DeviceCodes::decode(std::int64_t begin, std::int64_t count, void* out, std::int64_t stride,
                         Element element, cudaStream_t stream) const {
  std::visit(
      [&](const auto& matrix) { dequantise(matrix, begin, count, out, stride, element, stream); },
      matrix_);
}

}  // namespace mg::cuda
