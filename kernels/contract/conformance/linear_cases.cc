#include <fmt/format.h>

#include "kernels/contract/conformance/fixture.h"
#include "kernels/contract/tolerance.h"

namespace mg::contract {
namespace {

struct Shape3 {
  std::int64_t rows, inputs, outputs;
};

struct LinearCase {
  Shape3 shape;
  DType dtype;
  bool transposed;
  bool bias;
  Planted in_x = Planted::kNothing;
  Planted in_w = Planted::kNothing;
};

CaseResult run_linear(const LinearCase& c, const Parties& parties, Random& random) {
  const auto [rows, inputs, outputs] = c.shape;
  std::vector<float> x = random.normals(rows * inputs);
  const Shape stored = c.transposed ? Shape{inputs, outputs} : Shape{outputs, inputs};
  StoredTensor w = random_tensor(random, c.dtype, stored, 0.1);
  const DType bias_dtype = is_plain(c.dtype) ? c.dtype : DType::kF32;
  const StoredTensor bias = random_tensor(random, bias_dtype, {outputs}, 1.0);
  if (c.in_x != Planted::kNothing) {
    x[x.size() / 2] = planted_value(c.in_x);
  }
  if (c.in_w != Planted::kNothing) {
    plant(w, inputs * outputs / 2, planted_value(c.in_w));
  }
  const auto apply = [&](const std::vector<float>& x_values, const StoredTensor& weight,
                         const StoredTensor& addend) -> Operation {
    return [&, rows = rows, inputs = inputs, outputs = outputs](Backend& backend, Stage& stage) {
      const Mat out = stage.output(rows, outputs);
      backend.linear(stage.put(x_values, rows, inputs), {weight.view(), c.transposed},
                     c.bias ? addend.view() : TensorView{}, out);
      return out;
    };
  };
  const std::vector<float> magnitudes =
      result_of(parties.exact, apply(magnitude_of(x), magnitude_of(w), magnitude_of(bias)));
  return judge(parties, apply(x, w, bias), [&](std::size_t i, double expected) {
    return linear(parties.subject.arithmetic(), inputs, expected,
                  static_cast<double>(magnitudes[i]));
  });
}

// Around the tiles' and blocks' sizes (rows 4, 6, 12; columns 8, 16, 32; k 256), primes, one and
// none.
constexpr Shape3 kShapes[] = {
    {0, 16, 16},  {1, 0, 3},      {1, 1, 1},     {1, 17, 31},    {1, 300, 129},
    {3, 15, 16},  {3, 256, 17},   {5, 257, 33},  {6, 16, 15},    {7, 513, 65},
    {12, 64, 32}, {13, 31, 97},   {15, 96, 48},  {16, 255, 31},  {17, 128, 1},
    {1, 576, 48}, {2, 296, 40},   {3, 97, 70},   {4, 609, 16},   {8, 40, 33},
    {31, 3, 64},  {37, 521, 101}, {67, 300, 70}, {130, 260, 33}, {401, 40, 18},
};

void add(Cases& cases, const LinearCase& c) {
  add_case(cases, "linear",
           fmt::format("{} T{} K{} M{}{}{}{}{}", dtype_name(c.dtype), c.shape.rows, c.shape.inputs,
                       c.shape.outputs, c.transposed ? " transposed" : "", c.bias ? " bias" : "",
                       planted_name(c.in_x), c.in_w != Planted::kNothing ? " NaN in w" : ""),
           [c](const Parties& parties, Random& random) { return run_linear(c, parties, random); });
}

}  // namespace

void add_linear_cases(Cases& cases) {
  bool bias = false;
  for (const DType dtype :
       {DType::kF16, DType::kBF16, DType::kF32, DType::kF8E4M3, DType::kF8E5M2, DType::kF64}) {
    for (const Shape3& shape : kShapes) {
      for (const bool transposed : {false, true}) {
        bias = !bias;
        add(cases, {shape, dtype, transposed, bias});
      }
      bias = !bias;
    }
  }
  for (const Shape3& shape : {Shape3{1, 40, 37}, Shape3{9, 300, 20}, Shape3{67, 300, 70}}) {
    for (const bool transposed : {false, true}) {
      for (const Planted planted : {Planted::kNan, Planted::kInf, Planted::kMinusInf}) {
        add(cases, {shape, DType::kF16, transposed, true, planted});
      }
      add(cases, {shape, DType::kBF16, transposed, false, Planted::kNothing, Planted::kNan});
    }
  }
}

}  // namespace mg::contract
