#include <fmt/format.h>

#include <cmath>

#include "kernels/contract/conformance/fixture.h"
#include "kernels/contract/tolerance.h"

namespace mg::contract {
namespace {

struct ElementwiseCase {
  std::int64_t rows, cols;
  Planted planted = Planted::kNothing;
};

std::vector<float> inputs_of(const ElementwiseCase& c, Random& random) {
  std::vector<float> x = random.normals(c.rows * c.cols);
  if (c.planted != Planted::kNothing) {
    x[x.size() / 2] = planted_value(c.planted);
  }
  return x;
}

double magnitude(float x, double factor = 1.0) {
  return std::fabs(static_cast<double>(x) * factor);
}

CaseResult run_add(const ElementwiseCase& c, const Parties& parties, Random& random) {
  const std::vector<float> x = inputs_of(c, random);
  const std::vector<float> y = random.normals(c.rows * c.cols);
  const Operation operation = [&](Backend& backend, Stage& stage) {
    const Mat out = stage.put(y, c.rows, c.cols);
    backend.add(stage.put(x, c.rows, c.cols), out);
    return out;
  };
  return judge(parties, operation, [&](std::size_t i, double) {
    return elementwise(parties.subject.arithmetic(), 1, magnitude(x[i]) + magnitude(y[i]));
  });
}

CaseResult run_scale_columns(const ElementwiseCase& c, const Parties& parties, Random& random) {
  const std::vector<float> y = inputs_of(c, random);
  const std::vector<float> factors = random.normals(c.cols);
  const Operation operation = [&](Backend& backend, Stage& stage) {
    const Mat out = stage.put(y, c.rows, c.cols);
    backend.scale_columns(factors, out);
    return out;
  };
  return judge(parties, operation, [&](std::size_t, double expected) {
    return elementwise(parties.subject.arithmetic(), 1, std::fabs(expected));
  });
}

CaseResult run_add_vector(const ElementwiseCase& c, DType dtype, const Parties& parties,
                          Random& random) {
  constexpr double kFactor = -1.25;
  const std::vector<float> y = inputs_of(c, random);
  const StoredTensor vector = random_tensor(random, dtype, {c.cols}, 1.0);
  const std::vector<double> addend = vector.values();
  const Operation operation = [&](Backend& backend, Stage& stage) {
    const Mat out = stage.put(y, c.rows, c.cols);
    backend.add_vector(vector.view(), kFactor, out);
    return out;
  };
  return judge(parties, operation, [&](std::size_t i, double) {
    const std::size_t column = i % static_cast<std::size_t>(c.cols);
    return elementwise(parties.subject.arithmetic(), 2,
                       magnitude(y[i]) + std::fabs(kFactor * addend[column]));
  });
}

}  // namespace

void add_elementwise_cases(Cases& cases) {
  for (const ElementwiseCase& c : {ElementwiseCase{0, 5},
                                   {1, 1},
                                   {3, 15},
                                   {17, 31},
                                   {31, 577},
                                   {5, 33, Planted::kNan},
                                   {5, 33, Planted::kInf}}) {
    const std::string name = fmt::format("T{} {}{}", c.rows, c.cols, planted_name(c.planted));
    add_case(cases, "add", name,
             [c](const Parties& p, Random& random) { return run_add(c, p, random); });
    add_case(cases, "scale_columns", name,
             [c](const Parties& p, Random& random) { return run_scale_columns(c, p, random); });
    for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      add_case(cases, "add_vector", fmt::format("{} {}", dtype_name(dtype), name),
               [c, dtype](const Parties& p, Random& random) {
                 return run_add_vector(c, dtype, p, random);
               });
    }
  }
}

}  // namespace mg::contract
