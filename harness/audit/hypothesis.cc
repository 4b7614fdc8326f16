#include "harness/audit/hypothesis.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/core/convert.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

// Without a proof element by element, this close to its own re-merge counts as a match (failures.md
// section 1: right merges give c' within 0.01 and rho' up to 0.1, whatever the tool rounds on the
// way).
constexpr double kSlope = 0.05;
constexpr double kResidual = 0.15;
// Stray differences of other recipes: an ulp in under a tenth of the elements (peers.md section 5:
// 6 %).
constexpr double kStrayShare = 0.01;

Diagnosis error(std::string rule, std::vector<std::string> ids, std::string message,
                std::string fix) {
  Diagnosis d;
  d.rule = std::move(rule);
  d.catalogue = std::move(ids);
  d.message = std::move(message);
  d.expected = "base + delta";
  d.fix = std::move(fix);
  return d;
}

/// Solves the symmetric positive semi-definite G x = h by Cholesky with a small ridge.
std::vector<double> solve(std::vector<double> g, std::vector<double> h) {
  const auto n = static_cast<std::int64_t>(h.size());
  double trace = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    trace += g[to_index(i * n + i)];
  }
  const double ridge = 1e-10 * trace / static_cast<double>(n);
  for (std::int64_t j = 0; j < n; ++j) {
    double pivot = g[to_index(j * n + j)] + ridge;
    for (std::int64_t k = 0; k < j; ++k) {
      pivot -= g[to_index(j * n + k)] * g[to_index(j * n + k)];
    }
    const double root = std::sqrt(std::max(pivot, 1e-300));
    g[to_index(j * n + j)] = root;
    for (std::int64_t i = j + 1; i < n; ++i) {
      double value = g[to_index(i * n + j)];
      for (std::int64_t k = 0; k < j; ++k) {
        value -= g[to_index(i * n + k)] * g[to_index(j * n + k)];
      }
      g[to_index(i * n + j)] = value / root;
    }
  }
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t k = 0; k < i; ++k) {
      h[to_index(i)] -= g[to_index(i * n + k)] * h[to_index(k)];
    }
    h[to_index(i)] /= g[to_index(i * n + i)];
  }
  for (std::int64_t i = n; i-- > 0;) {
    for (std::int64_t k = i + 1; k < n; ++k) {
      h[to_index(i)] -= g[to_index(k * n + i)] * h[to_index(k)];
    }
    h[to_index(i)] /= g[to_index(i * n + i)];
  }
  return h;
}

/// One coefficient per rank-1 term of s*B*A that explains M - W best, on sample rows.
std::vector<double> rank_coefficients(const TargetCase& c, Hypothesis& h) {
  const std::int64_t rank = c.views.delta->rank();
  const std::int64_t cols = c.cols();
  const bool transposed = h.attached().transposed;
  const std::vector<double> a = h.own_a();
  const std::vector<double> b = h.own_b();
  const auto left = [&](std::int64_t i, std::int64_t k) {
    return transposed ? a[to_index(k * c.rows() + i)] : b[to_index(i * rank + k)];
  };
  const auto right = [&](std::int64_t k, std::int64_t j) {
    return transposed ? b[to_index(j * rank + k)] : a[to_index(k * cols + j)];
  };
  std::vector<double> left_gram(to_index(rank * rank), 0.0);
  std::vector<double> target(to_index(rank), 0.0);
  std::vector<double> weight(to_index(cols));
  std::vector<double> merged(to_index(cols));
  const auto row_of = [&](const TensorView& view, std::int64_t i, std::vector<double>& out) {
    const auto width = static_cast<std::size_t>(dtype_bits(view.dtype) / 8);
    widen_to_double(view.dtype, view.data + to_index(i * cols) * width, cols, out.data());
  };
  for (const auto& [begin, end] : sample_rows(*c.views.delta, 65536)) {
    for (std::int64_t i = begin; i < end; ++i) {
      row_of(c.views.base, i, weight);
      row_of(c.views.merged, i, merged);
      for (std::int64_t k = 0; k < rank; ++k) {
        double dot = 0;
        for (std::int64_t j = 0; j < cols; ++j) {
          dot += (merged[to_index(j)] - weight[to_index(j)]) * right(k, j);
        }
        target[to_index(k)] += dot * left(i, k) * h.module().scale;
        for (std::int64_t l = 0; l < rank; ++l) {
          left_gram[to_index(k * rank + l)] += left(i, k) * left(i, l);
        }
      }
    }
  }
  const double square = h.module().scale * h.module().scale;
  for (std::int64_t k = 0; k < rank; ++k) {
    for (std::int64_t l = 0; l < rank; ++l) {
      double dot = 0;
      for (std::int64_t j = 0; j < cols; ++j) {
        dot += right(k, j) * right(l, j);
      }
      left_gram[to_index(k * rank + l)] *= dot * square;
    }
  }
  return solve(std::move(left_gram), std::move(target));
}

/// B with its rows in another order.
void permute_rows(std::vector<double>& values, std::int64_t width,
                  const std::vector<std::int64_t>& from) {
  const std::vector<double> before = values;
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::copy_n(before.begin() + from[i] * width, width,
                values.begin() + static_cast<std::int64_t>(i) * width);
  }
}

struct Slicing {
  std::string names;
  std::vector<std::int64_t> sizes;
};

std::int64_t config_number(const nlohmann::json& config, const char* key) {
  const auto found = config.find(key);
  return found != config.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

/// How the output of a packed projection falls into parts.
std::vector<Slicing> slicings(const TargetCase& c, std::int64_t out) {
  std::vector<Slicing> result;
  const std::string& name = c.item.name;
  if (name.find("gate_up") != std::string::npos && out % 2 == 0) {
    result.push_back({"gate and up", {out / 2, out / 2}});
  }
  const bool qkv =
      name.find("qkv") != std::string::npos || name.find("c_attn") != std::string::npos;
  if (qkv) {
    const std::int64_t heads = config_number(c.base_config, "num_attention_heads");
    const std::int64_t groups = config_number(c.base_config, "num_key_value_heads");
    if (heads > 0 && groups > 0 && out % (heads + 2 * groups) == 0 && heads != groups) {
      const std::int64_t size = out / (heads + 2 * groups);
      result.push_back({"q, k and v", {heads * size, groups * size, groups * size}});
    } else if (out % 3 == 0) {
      result.push_back({"q, k and v", {out / 3, out / 3, out / 3}});
    }
  }
  return result;
}

/// Orders of the parts as the wrong tool may have stored them: for each place, which part lies
/// there.
std::vector<std::vector<std::int64_t>> orders(const Slicing& slicing) {
  std::vector<std::size_t> order(slicing.sizes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::vector<std::vector<std::int64_t>> result;
  while (std::next_permutation(order.begin(), order.end())) {
    std::vector<std::int64_t> from;
    for (const std::size_t part : order) {
      const std::int64_t begin = std::accumulate(
          slicing.sizes.begin(), slicing.sizes.begin() + static_cast<std::ptrdiff_t>(part),
          std::int64_t{0});
      for (std::int64_t i = 0; i < slicing.sizes[part]; ++i) {
        from.push_back(begin + i);
      }
    }
    result.push_back(std::move(from));
  }
  return result;
}

/// M - W, in units of its own size, as far as it lies along another delta: the cosine on sample
/// rows.
double alignment(const TargetCase& c, const DeltaRows& other) {
  double dot = 0;
  double move = 0;
  double delta = 0;
  std::vector<double> d;
  std::vector<double> w;
  std::vector<double> m;
  for (const auto& [begin, end] : sample_rows(*c.views.delta, 4096)) {
    const std::int64_t n = (end - begin) * c.cols();
    for (std::vector<double>* buffer : {&d, &w, &m}) {
      buffer->resize(to_index(n));
    }
    other.compute(begin, end, d.data());
    const auto read = [&](const TensorView& view, std::vector<double>& out) {
      const auto width = static_cast<std::size_t>(dtype_bits(view.dtype) / 8);
      widen_to_double(view.dtype, view.data + to_index(begin * c.cols()) * width, n, out.data());
    };
    read(c.views.base, w);
    read(c.views.merged, m);
    for (std::int64_t i = 0; i < n; ++i) {
      const double moved = m[to_index(i)] - w[to_index(i)];
      dot += moved * d[to_index(i)];
      move += moved * moved;
      delta += d[to_index(i)] * d[to_index(i)];
    }
  }
  return move > 0.0 && delta > 0.0 ? dot / std::sqrt(move * delta) : 0.0;
}

/// |x - y| / |x| on sample elements of two tensors of one shape.
double distance(const TensorView& x, const TensorView& y) {
  const std::int64_t n = std::min<std::int64_t>(x.elements(), 4096);
  std::vector<double> a(to_index(n));
  std::vector<double> b(to_index(n));
  const auto read = [n](const TensorView& view, std::vector<double>& out) {
    const auto width = static_cast<std::size_t>(dtype_bits(view.dtype) / 8);
    const std::int64_t from = (view.elements() - n) / 2;
    widen_to_double(view.dtype, view.data + to_index(from) * width, n, out.data());
  };
  read(x, a);
  read(y, b);
  double difference = 0;
  double size = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    difference += (a[to_index(i)] - b[to_index(i)]) * (a[to_index(i)] - b[to_index(i)]);
    size += a[to_index(i)] * a[to_index(i)];
  }
  return size > 0.0 ? std::sqrt(difference / size) : 1.0;
}

}  // namespace

Hypothesis::Hypothesis(const AttachedDelta& attached)
    : attached_(attached), module_(*attached.module), base_(*attached.target) {
  attached_.module = &module_;
  attached_.target = &base_;
}

std::vector<double>& Hypothesis::own(TensorView& view, std::vector<double>& values) {
  if (values.empty()) {
    values.resize(to_index(view.elements()));
    widen_to_double(view.dtype, view.data, view.elements(), values.data());
    view.dtype = DType::kF64;
    view.data = reinterpret_cast<const std::byte*>(values.data());
    view.bytes = values.size() * sizeof(double);
  }
  return values;
}

std::vector<double>& Hypothesis::own_a() {
  return own(module_.a, a_);
}
std::vector<double>& Hypothesis::own_b() {
  return own(module_.b, b_);
}

bool HypothesisFit::matches() const {
  return unexplained_share <= kStrayShare || (std::fabs(c - 1.0) <= kSlope && rho <= kResidual);
}

HypothesisFit fit_hypothesis(Hypothesis& hypothesis, const TensorView& merged,
                             std::int64_t elements) {
  const DeltaRows delta(hypothesis.attached());
  const TargetViews views{hypothesis.base().view, merged, &delta};
  TargetMeasure measure;
  for (const auto& [begin, end] : sample_rows(delta, elements)) {
    measure.add(measure_rows(views, begin, end));
  }
  HypothesisFit fit;
  fit.unexplained_share = static_cast<double>(measure.unexplained) /
                          static_cast<double>(std::max<std::int64_t>(1, measure.elements));
  fit.c = measure.c_remerge().value_or(0.0);
  fit.rho = measure.rho_remerge().value_or(1.0);
  return fit;
}

std::optional<Diagnosis> transposed_story(const TargetCase& c) {
  const bool square = c.rows() == c.cols() && c.item.delta->expert_count == 0;
  if (!square || c.item.kind != ItemKind::kTarget) {
    return std::nullopt;
  }
  Hypothesis h(*c.item.delta);
  h.attached().transposed = !h.attached().transposed;
  h.module().magnitude = {};
  if (!fit_hypothesis(h, c.views.merged).matches()) {
    return std::nullopt;
  }
  return error("audit.transposed", {"F23"}, "holds the transposed delta",
               "merge again with the layer's own orientation (fan_in_fan_out)");
}

std::optional<Diagnosis> partial_rank_story(const TargetCase& c) {
  const std::int64_t rank = c.views.delta->rank();
  const bool plain = c.item.kind == ItemKind::kTarget && c.item.delta->expert_count == 0 &&
                     !c.views.delta->has_dora();
  if (!plain || rank < 2 || c.rows() * c.cols() < 2 * rank) {
    return std::nullopt;
  }
  Hypothesis h(*c.item.delta);
  const std::vector<double> coefficients = rank_coefficients(c, h);
  std::vector<std::int64_t> missing;
  const std::int64_t in = h.module().a.elements() / rank;
  for (std::int64_t k = 0; k < rank; ++k) {
    if (coefficients[to_index(k)] < 0.5) {
      missing.push_back(k);
      std::fill_n(h.own_a().begin() + k * in, in, 0.0);
    }
  }
  if (missing.empty() || missing.size() == to_index(rank) ||
      !fit_hypothesis(h, c.views.merged).matches()) {
    return std::nullopt;
  }
  return error(
      "audit.partial-rank", {"F62"},
      fmt::format("holds {} of {} ranks (missing: {})",
                  rank - static_cast<std::int64_t>(missing.size()), rank, fmt::join(missing, ", ")),
      "merge again with all rows of A and columns of B");
}

std::optional<Diagnosis> slices_story(const TargetCase& c) {
  if (c.item.kind != ItemKind::kTarget || c.item.delta->expert_count > 0) {
    return std::nullopt;
  }
  const std::int64_t rank = c.views.delta->rank();
  for (const Slicing& slicing : slicings(c, c.item.delta->module->b.dim(0))) {
    for (const std::vector<std::int64_t>& from : orders(slicing)) {
      Hypothesis h(*c.item.delta);
      permute_rows(h.own_b(), rank, from);
      if (fit_hypothesis(h, c.views.merged).matches()) {
        return error("audit.swapped-slices", {"F53"},
                     fmt::format("holds the delta with {} in another order", slicing.names),
                     "merge again slice by slice");
      }
    }
  }
  return std::nullopt;
}

std::optional<Diagnosis> experts_story(const TargetCase& c) {
  const std::int64_t experts = c.item.delta->expert_count;
  if (c.item.kind != ItemKind::kTarget || experts < 2) {
    return std::nullopt;
  }
  if (c.item.delta->expert >= 0) {  // stored one by one: whose delta is it?
    for (std::int64_t e = 0; e < experts; ++e) {
      Hypothesis h(*c.item.delta);
      h.attached().expert = e;
      if (e != c.item.delta->expert && fit_hypothesis(h, c.views.merged).matches()) {
        return error("audit.permuted-experts", {"F25"},
                     fmt::format("holds the delta of expert {}", e),
                     "merge again with A and B unstacked as PEFT stacks them");
      }
    }
    return std::nullopt;
  }
  // Stacked: the usual mistake reads B's columns as E blocks of R instead of R groups of E.
  Hypothesis h(*c.item.delta);
  const std::int64_t rank = c.views.delta->rank();
  const std::vector<double> before = h.own_b();
  const std::int64_t line = rank * experts;
  for (std::int64_t i = 0; i < h.module().b.dim(0); ++i) {
    for (std::int64_t e = 0; e < experts; ++e) {
      for (std::int64_t k = 0; k < rank; ++k) {
        h.own_b()[to_index(i * line + k * experts + e)] = before[to_index(i * line + e * rank + k)];
      }
    }
  }
  if (fit_hypothesis(h, c.views.merged).matches()) {
    return error(
        "audit.permuted-experts", {"F25"},
        "holds a delta whose B was cut into experts the wrong way (blocks instead of strides)",
        "merge again: expert e owns columns e, e+E, e+2E, ... of B");
  }
  return std::nullopt;
}

std::optional<Diagnosis> dora_story(const TargetCase& c) {
  if (!c.views.delta->has_dora() || c.item.kind != ItemKind::kTarget) {
    return std::nullopt;
  }
  Hypothesis dropped(*c.item.delta);
  dropped.module().magnitude = {};
  if (fit_hypothesis(dropped, c.views.merged).matches()) {
    return error("audit.dora", {"F22"}, "holds base + s*B*A: DoRA's magnitude was dropped",
                 "merge again as m * (W + s*B*A) / |W + s*B*A|");
  }
  return std::nullopt;
}

std::optional<Diagnosis> wrong_pair_story(const TargetCase& c) {
  if (c.item.kind != ItemKind::kTarget || c.item.delta->expert_count > 0) {
    return std::nullopt;
  }
  for (const AuditItem& other : c.plan.items) {
    const bool candidate = other.kind == ItemKind::kTarget && &other != &c.item &&
                           other.delta->expert_count == 0 &&
                           other.start.shape == c.item.start.shape &&
                           other.delta->transposed == c.item.delta->transposed &&
                           other.delta->module->magnitude.empty();
    if (!candidate) {
      continue;
    }
    Hypothesis h(*other.delta);
    h.base() = *c.item.base;
    const DeltaRows delta(h.attached());
    if (alignment(c, delta) > 0.7 && fit_hypothesis(h, c.views.merged).matches()) {
      return error("audit.wrong-place", {"F63"}, fmt::format("holds the delta of {}", other.name),
                   "merge again; the tool mixed up its modules");
    }
  }
  return std::nullopt;
}

std::optional<Diagnosis> wrong_place_story(const TargetCase& c) {
  // Only where merged has little to do with its own base: another model's tensor is no nearer.
  const double own = distance(c.views.merged, c.views.base);
  for (const AuditItem& other : c.plan.items) {
    const bool candidate = &other != &c.item && other.base != nullptr && other.merged != nullptr &&
                           other.start.shape == c.item.start.shape && is_plain(other.start.dtype);
    if (!candidate) {
      continue;
    }
    const std::vector<DecodedHold> holds = other.hold();
    const double there = distance(c.views.merged, other.start);
    if (there < 0.5 * own) {
      return error(
          "audit.wrong-place", {"F63"},
          fmt::format("is {}'s tensor (distance {:.2g} of its size, {:.2g} to its own base)",
                      other.name, there, own),
          "put the tensors back under their own names, or merge again");
    }
  }
  return std::nullopt;
}

}  // namespace mg
