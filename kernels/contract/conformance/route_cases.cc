#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/contract/conformance/fixture.h"
#include "kernels/contract/tolerance.h"

namespace mg::contract {
namespace {

struct RouteCase {
  std::int64_t rows, experts, k;
  bool normalise;
  Planted planted = Planted::kNothing;
};

CaseResult run_route(const RouteCase& c, const Parties& parties, Random& random) {
  std::vector<float> logits = random.normals(c.rows * c.experts, 2.0);
  for (std::size_t i = 0; i + 1 < logits.size(); i += 7) {
    logits[i + 1] = logits[i];  // ties
  }
  if (c.planted != Planted::kNothing) {
    logits[logits.size() / 2] = planted_value(c.planted);
  }
  const auto apply = [&](Backend& backend) {
    Stage stage(backend);
    return backend.route_top_k(stage.put(logits, c.rows, c.experts), c.k, c.normalise);
  };
  const RoutedExperts expected = apply(parties.oracle);
  const RoutedExperts actual = apply(parties.subject);
  CaseResult result;
  if (expected.expert != actual.expert) {
    result.failure = "chose other experts, or in another order";
    return result;
  }
  std::vector<double> allowed(expected.weight.size());
  for (std::size_t i = 0; i < allowed.size(); ++i) {
    const std::size_t row = i / static_cast<std::size_t>(c.k) * static_cast<std::size_t>(c.experts);
    double largest = 0;
    for (std::size_t e = row; e < row + static_cast<std::size_t>(c.experts); ++e) {
      largest = std::max(largest, std::fabs(static_cast<double>(logits[e])));
    }
    allowed[i] = routing_weight(parties.subject.arithmetic(), c.experts,
                                static_cast<double>(expected.weight[i]), largest);
  }
  result.comparison = compare(expected.weight, actual.weight, allowed);
  result.failure = result.comparison.ok() ? "" : describe(result.comparison);
  return result;
}

}  // namespace

void add_route_cases(Cases& cases) {
  for (const bool normalise : {false, true}) {
    for (const RouteCase& c : {RouteCase{0, 4, 2, normalise},
                               {1, 1, 1, normalise},
                               {3, 5, 5, normalise},
                               {17, 16, 4, normalise},
                               {67, 128, 8, normalise},
                               {5, 33, 2, normalise, Planted::kNan},
                               {5, 33, 2, normalise, Planted::kInf},
                               {5, 33, 2, normalise, Planted::kMinusInf}}) {
      add_case(cases, "route_top_k",
               fmt::format("T{} E{} k{}{}{}", c.rows, c.experts, c.k,
                           c.normalise ? " normalised" : "", planted_name(c.planted)),
               [c](const Parties& p, Random& random) { return run_route(c, p, random); });
    }
  }
}

}  // namespace mg::contract
