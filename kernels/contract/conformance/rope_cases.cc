#include <fmt/format.h>

#include <cmath>

#include "kernels/contract/conformance/fixture.h"
#include "kernels/contract/tolerance.h"

namespace mg::contract {
namespace {

struct RopeCase {
  std::int64_t rows, heads, head_dim, rotary_dim;
  Planted planted = Planted::kNothing;
};

CaseResult run_rope(const RopeCase& c, const Parties& parties, Random& random) {
  const std::int64_t cols = c.heads * c.head_dim;
  const std::int64_t half = c.rotary_dim / 2;
  std::vector<float> x = random.normals(c.rows * cols);
  std::vector<float> cos(static_cast<std::size_t>(c.rows * half));
  std::vector<float> sin(cos.size());
  for (std::size_t i = 0; i < cos.size(); ++i) {
    const double angle = random.uniform(-10, 10);
    cos[i] = static_cast<float>(std::cos(angle));
    sin[i] = static_cast<float>(std::sin(angle));
  }
  if (c.planted != Planted::kNothing) {
    x[x.size() / 2] = planted_value(c.planted);
  }
  const Operation operation = [&](Backend& backend, Stage& stage) {
    const Mat out = stage.put(x, c.rows, cols);
    backend.rope(stage.put(cos, c.rows, half), stage.put(sin, c.rows, half), c.heads, c.rotary_dim,
                 out);
    return out;
  };
  return judge(parties, operation, [&](std::size_t i, double expected) {
    // |cos|, |sin| <= 1: the two elements of the pair bound both products.
    const std::size_t head = i / static_cast<std::size_t>(c.head_dim);
    const auto at = static_cast<std::int64_t>(i % static_cast<std::size_t>(c.head_dim));
    double magnitude = std::fabs(expected);
    if (at < c.rotary_dim) {
      const std::int64_t partner = at < half ? at + half : at - half;
      const std::size_t other =
          head * static_cast<std::size_t>(c.head_dim) + static_cast<std::size_t>(partner);
      magnitude = std::fabs(static_cast<double>(x[i])) + std::fabs(static_cast<double>(x[other]));
    }
    return rope(parties.subject.arithmetic(), expected, magnitude);
  });
}

}  // namespace

void add_rope_cases(Cases& cases) {
  for (const RopeCase& c : {RopeCase{0, 1, 4, 4},
                            {1, 1, 2, 2},
                            {3, 2, 6, 6},
                            {17, 3, 64, 64},
                            {31, 2, 80, 80},
                            {16, 4, 20, 10},
                            {5, 2, 96, 0},
                            {67, 9, 64, 32},
                            {5, 3, 32, 32, Planted::kNan},
                            {5, 3, 32, 32, Planted::kInf}}) {
    add_case(cases, "rope",
             fmt::format("T{} N{} D{} rotary {}{}", c.rows, c.heads, c.head_dim, c.rotary_dim,
                         planted_name(c.planted)),
             [c](const Parties& p, Random& random) { return run_rope(c, p, random); });
  }
}

}  // namespace mg::contract
