#include <fmt/format.h>

#include <cmath>

#include "kernels/contract/conformance/fixture.h"
#include "kernels/contract/tolerance.h"

namespace mg::contract {
namespace {

struct LowRankCase {
  std::int64_t rows, inputs, rank, outputs;
  DType dtype;
  double scale;
  Planted planted = Planted::kNothing;
};

CaseResult run_low_rank(const LowRankCase& c, const Parties& parties, Random& random) {
  std::vector<float> x = random.normals(c.rows * c.inputs);
  const std::vector<float> y = random.normals(c.rows * c.outputs);
  const StoredTensor a = random_tensor(random, c.dtype, {c.rank, c.inputs}, 0.1);
  const StoredTensor b = random_tensor(random, c.dtype, {c.outputs, c.rank}, 0.1);
  if (c.planted != Planted::kNothing) {
    x[x.size() / 2] = planted_value(c.planted);
  }
  const auto apply = [&](const std::vector<float>& x_values, const StoredTensor& down,
                         const StoredTensor& up, double scale,
                         const std::vector<float>& y_values) -> Operation {
    return [&, scale](Backend& backend, Stage& stage) {
      const Mat out = stage.put(y_values, c.rows, c.outputs);
      backend.low_rank(stage.put(x_values, c.rows, c.inputs), down.view(), up.view(), scale, out);
      return out;
    };
  };
  const StoredTensor abs_a = magnitude_of(a);
  const StoredTensor abs_b = magnitude_of(b);
  const std::vector<float> abs_x = magnitude_of(x);
  const std::vector<float> zeros(y.size(), 0.0F);
  const std::vector<float> magnitudes =
      result_of(parties.exact, apply(abs_x, abs_a, abs_b, std::fabs(c.scale), zeros));
  return judge(parties, apply(x, a, b, c.scale, y), [&](std::size_t i, double expected) {
    return low_rank(parties.subject.arithmetic(), c.inputs, c.rank, expected,
                    static_cast<double>(magnitudes[i]), std::fabs(static_cast<double>(y[i])));
  });
}

void add(Cases& cases, const LowRankCase& c) {
  add_case(
      cases, "low_rank",
      fmt::format("{} T{} K{} R{} M{} scale {}{}", dtype_name(c.dtype), c.rows, c.inputs, c.rank,
                  c.outputs, c.scale, planted_name(c.planted)),
      [c](const Parties& parties, Random& random) { return run_low_rank(c, parties, random); });
}

}  // namespace

void add_low_rank_cases(Cases& cases) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32, DType::kF8E4M3}) {
    add(cases, {0, 8, 4, 8, dtype, 1.0});
    add(cases, {1, 300, 8, 129, dtype, 2.0});
    add(cases, {3, 17, 1, 31, dtype, -0.3});
    add(cases, {16, 64, 16, 48, dtype, 0.5});
    add(cases, {31, 257, 64, 65, dtype, 2.0});
    add(cases, {67, 96, 13, 100, dtype, 1.7});
    add(cases, {19, 100, 300, 40, dtype, 0.25});  // a rank above the k block
    add(cases, {15, 64, 5, 48, dtype, 0.0});
  }
  add(cases, {67, 96, 13, 100, DType::kF16, 1.0, Planted::kNan});
  add(cases, {5, 96, 13, 100, DType::kF16, 1.0, Planted::kInf});
}

}  // namespace mg::contract
