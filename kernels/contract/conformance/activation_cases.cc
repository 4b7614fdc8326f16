#include <fmt/format.h>

#include <cmath>

#include "kernels/contract/conformance/fixture.h"
#include "kernels/contract/tolerance.h"

namespace mg::contract {
namespace {

struct Kind {
  ActivationKind kind;
  const char* name;
};
constexpr Kind kKinds[] = {{ActivationKind::kSilu, "silu"},
                           {ActivationKind::kGeluTanh, "gelu_tanh"},
                           {ActivationKind::kGeluErf, "gelu_erf"},
                           {ActivationKind::kQuickGelu, "quick_gelu"},
                           {ActivationKind::kRelu, "relu"}};

struct Size {
  std::int64_t rows, cols;
  std::int64_t elements() const { return rows * cols; }
};
constexpr Size kSizes[] = {{0, 3}, {1, 1}, {3, 15}, {17, 31}, {40, 300}};

/// Ordinary values with the extreme ones first (finite and not): zeros, tiny, far out, infinite,
/// NaN.
std::vector<float> wide_inputs(Random& random, std::int64_t n) {
  std::vector<float> x = random.normals(n, 4.0);
  constexpr float kExtremes[] = {0.0F,   -0.0F,  1e-7F,   -1e-7F,  9.0F,     -9.0F, -20.0F,
                                 -88.0F, 100.0F, -100.0F, 3000.0F, -3000.0F, 6e4F,  -6e4F};
  std::size_t i = 0;
  for (const float value : kExtremes) {
    if (i < x.size()) {
      x[i++] = value;
    }
  }
  for (const Planted planted : {Planted::kNan, Planted::kInf, Planted::kMinusInf}) {
    if (i + 1 < x.size()) {
      x[++i] = planted_value(planted);
    }
  }
  return x;
}

/// f of every element by the exact oracle, without rounding but for reading it as FP32.
std::vector<float> exact_values(const Parties& parties, ActivationKind kind,
                                const std::vector<float>& x) {
  const auto n = static_cast<std::int64_t>(x.size());
  return result_of(parties.exact, [&](Backend& backend, Stage& stage) {
    const Mat out = stage.put(x, 1, n);
    backend.activation(kind, out);
    return out;
  });
}

/// |x f'(x)| of every element by a difference of 2^-9 of x, as the oracle sees x (rounded to the
/// arithmetic).
std::vector<double> slopes(const Parties& parties, ActivationKind kind,
                           const std::vector<float>& x) {
  constexpr float kStep = 0x1p-9F;
  std::vector<float> above = x;
  std::vector<float> below = x;
  for (std::size_t i = 0; i < x.size(); ++i) {
    above[i] *= 1 + kStep;
    below[i] *= 1 - kStep;
  }
  const std::vector<float> f_above = exact_values(parties, kind, above);
  const std::vector<float> f_below = exact_values(parties, kind, below);
  std::vector<double> result(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    result[i] = std::fabs(static_cast<double>(f_above[i]) - static_cast<double>(f_below[i])) /
                static_cast<double>(2 * kStep);
  }
  return result;
}

CaseResult run_activation(const Kind& kind, const Size& size, const Parties& parties,
                          Random& random) {
  const std::vector<float> x = wide_inputs(random, size.elements());
  const std::vector<double> slope = slopes(parties, kind.kind, x);
  const Operation operation = [&](Backend& backend, Stage& stage) {
    const Mat out = stage.put(x, size.rows, size.cols);
    backend.activation(kind.kind, out);
    return out;
  };
  return judge(parties, operation, [&](std::size_t i, double expected) {
    return activation(parties.subject.arithmetic(), expected, slope[i]);
  });
}

/// Where the gated result goes.
enum class Target : std::uint8_t { kOwn, kGate, kUp };

CaseResult run_gated(const Kind& kind, const Size& size, Target target, const Parties& parties,
                     Random& random) {
  const std::vector<float> gate = wide_inputs(random, size.elements());
  const std::vector<float> up = random.normals(size.elements());
  const std::vector<double> slope = slopes(parties, kind.kind, gate);
  const std::vector<float> activated = exact_values(parties, kind.kind, gate);
  const Operation operation = [&](Backend& backend, Stage& stage) {
    const Mat g = stage.put(gate, size.rows, size.cols);
    const Mat u = stage.put(up, size.rows, size.cols);
    const Mat own = stage.output(size.rows, size.cols);
    const Mat out = target == Target::kOwn ? own : target == Target::kGate ? g : u;
    backend.gated_activation(kind.kind, g, u, out);
    return out;
  };
  return judge(parties, operation, [&](std::size_t i, double) {
    return gated_activation(parties.subject.arithmetic(), static_cast<double>(activated[i]),
                            slope[i], static_cast<double>(up[i]));
  });
}

CaseResult run_softcap(const Size& size, double cap, const Parties& parties, Random& random) {
  const std::vector<float> x = wide_inputs(random, size.elements());
  const Operation operation = [&](Backend& backend, Stage& stage) {
    const Mat out = stage.put(x, size.rows, size.cols);
    backend.softcap(cap, out);
    return out;
  };
  return judge(parties, operation, [&](std::size_t, double expected) {
    // tanh errs by 2 u of its result, its argument by u (|x tanh'(x)| <= |tanh x|).
    return elementwise(parties.subject.arithmetic(), 4, std::fabs(expected));
  });
}

}  // namespace

void add_activation_cases(Cases& cases) {
  for (const Size& size : kSizes) {
    const std::string where = fmt::format("T{} {}", size.rows, size.cols);
    for (const Kind& kind : kKinds) {
      const std::string name = fmt::format("{} {}", kind.name, where);
      add_case(cases, "activation", name, [kind, size](const Parties& p, Random& random) {
        return run_activation(kind, size, p, random);
      });
      for (const Target target : {Target::kOwn, Target::kGate, Target::kUp}) {
        const char* suffix = target == Target::kOwn    ? ""
                             : target == Target::kGate ? " into gate"
                                                       : " into up";
        add_case(cases, "gated_activation", name + suffix,
                 [kind, size, target](const Parties& p, Random& random) {
                   return run_gated(kind, size, target, p, random);
                 });
      }
    }
    for (const double cap : {30.0, 50.0}) {
      add_case(cases, "softcap", fmt::format("{} cap {}", where, cap),
               [size, cap](const Parties& p, Random& random) {
                 return run_softcap(size, cap, p, random);
               });
    }
  }
}

}  // namespace mg::contract
