#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/contract/conformance/fixture.h"
#include "kernels/core/dequantise.h"

namespace mg::contract {
namespace {

/// A matrix of codes.  block 0: LLM.int8().
struct CodesCase {
  std::int64_t rows, cols;
  std::int64_t block = 0;
  std::int64_t nested_block = 0;  // 0: scales in FP32
  bool fp4 = false;
  bool by_row = false;
  bool col32 = false;
  bool transposed = false;
  bool announced = true;
};

std::vector<std::byte> random_codes(Random& random, std::int64_t count) {
  std::vector<std::byte> bytes;
  for (std::int64_t i = 0; i < count; ++i) {
    bytes.push_back(static_cast<std::byte>(random.bits() & 255U));
  }
  return bytes;
}

/// The codes, what they are decoded from, and the values they stand for.
struct CodedMatrix {
  CodedMatrix(const CodesCase& c, Random& random)
      : codes(random_codes(random, c.rows * c.cols)),
        absmax_codes(random_codes(random, c.rows * c.cols)),
        scales(random_tensor(random, DType::kF32, {c.rows * c.cols}, 0.02)),
        nested(random_tensor(random, DType::kF32, {256}, 0.02)),
        values(static_cast<std::size_t>(c.rows * c.cols)) {
    if (c.block == 0) {
      eight = {.rows = c.rows,
               .cols = c.cols,
               .codes = codes.data(),
               .scale = scales.view().data,
               .col32 = c.col32};
      dequantise_rows(eight, 0, c.rows, values.data());
      weight = {nullptr, &eight};
      return;
    }
    four = {.rows = c.rows,
            .cols = c.cols,
            .codes = codes.data(),
            .levels = c.fp4 ? kFp4Levels.data() : kNf4Levels.data(),
            .block = c.block,
            .blocks_by_row = c.by_row,
            .absmax = c.nested_block > 0 ? absmax_codes.data() : scales.view().data};
    if (c.nested_block > 0) {
      four.nested_levels = nested.view().data;
      four.nested_absmax = scales.view().data;
      four.nested_block = c.nested_block;
      four.nested_offset = 0.05F;
    }
    dequantise_rows(four, 0, c.rows, values.data());
    weight = {&four, nullptr};
  }
  CodedMatrix(const CodedMatrix&) = delete;
  CodedMatrix& operator=(const CodedMatrix&) = delete;

  std::vector<std::byte> codes;
  std::vector<std::byte> absmax_codes;
  StoredTensor scales;
  StoredTensor nested;
  std::vector<float> values;
  FourBitMatrix four;
  EightBitMatrix eight;
  WeightCodes weight;
};

TensorView matrix_view(const std::vector<float>& values, const CodesCase& c) {
  return {DType::kF32,
          {c.rows, c.cols},
          reinterpret_cast<const std::byte*>(values.data()),
          values.size() * sizeof(float)};
}

/// The identity times the matrix: its values, each the one product of its sum that is not zero, so
/// that nothing but the arithmetic's rounding may differ.  A backend that takes codes is shown
/// values that are not numbers: it must not look.
CaseResult run_codes(const CodesCase& c, const Parties& parties, Random& random) {
  const CodedMatrix matrix(c, random);
  const std::vector<float> nothing(matrix.values.size(), std::numeric_limits<float>::quiet_NaN());
  const std::int64_t inputs = c.transposed ? c.rows : c.cols;
  const std::int64_t outputs = c.transposed ? c.cols : c.rows;
  std::vector<float> identity(static_cast<std::size_t>(inputs * inputs));
  for (std::int64_t i = 0; i < inputs; ++i) {
    identity[static_cast<std::size_t>(i * inputs + i)] = 1.0F;
  }
  return judge(
      parties,
      [&](Backend& backend, Stage& stage) {
        const bool takes = backend.takes_codes();
        const std::vector<Weight> weights{
            {matrix_view(takes ? nothing : matrix.values, c), c.transposed, matrix.weight}};
        if (c.announced) {
          backend.prefetch(weights);
        }
        const Mat out = stage.output(inputs, outputs);
        backend.linear(stage.put(identity, inputs, inputs), weights[0], {}, out);
        if (c.announced) {
          backend.release(weights);
        }
        return out;
      },
      [](std::size_t, double) { return 0.0; });
}

void add(Cases& cases, const CodesCase& c) {
  const std::string form =
      c.block == 0 ? (c.col32 ? "INT8 col32" : "INT8")
                   : fmt::format("{} blocks of {}{}{}", c.fp4 ? "FP4" : "NF4", c.block,
                                 c.nested_block > 0 ? " nested" : "", c.by_row ? " by row" : "");
  add_case(cases, "dequantise",
           fmt::format("{} {}x{}{}{}", form, c.rows, c.cols, c.transposed ? " transposed" : "",
                       c.announced ? "" : ", not announced"),
           [c](const Parties& parties, Random& random) { return run_codes(c, parties, random); });
}

struct CodesShape {
  std::int64_t rows, cols;
};

}  // namespace

void add_dequantise_cases(Cases& cases) {
  // Rows that end with a block, inside one, inside a vector of four, inside a byte.
  constexpr CodesShape kCodesShapes[] = {{5, 128}, {37, 112}, {18, 70}, {9, 33}, {1, 300}, {65, 1}};
  bool announced = false;
  for (const CodesShape& shape : kCodesShapes) {
    for (const std::int64_t block : {32, 64, 256, 4096}) {
      for (const bool nested : {false, true}) {
        for (const bool by_row : {false, true}) {
          announced = !announced;
          add(cases, {.rows = shape.rows,
                      .cols = shape.cols,
                      .block = block,
                      .nested_block = nested ? 64 : 0,
                      .fp4 = by_row != nested,
                      .by_row = by_row,
                      .announced = announced});
        }
      }
      announced = !announced;
    }
    add(cases, {.rows = shape.rows, .cols = shape.cols, .announced = announced});
    add(cases, {.rows = shape.rows, .cols = shape.cols, .block = 64, .transposed = true});
    announced = !announced;
  }
  for (const bool transposed : {false, true}) {
    add(cases, {.rows = 21, .cols = 96, .col32 = true, .transposed = transposed});
  }
}

}  // namespace mg::contract
