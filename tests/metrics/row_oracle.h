// The formulas of a row's metrics written plainly in long double: what the vector code is held
// against.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "harness/metrics/row_kernel.h"

namespace mg::test {

using Row = std::vector<float>;
using Real = long double;

inline Real oracle_lse(const Row& z) {
  const Real largest = *std::max_element(z.begin(), z.end());
  Real sum = 0;
  for (const float v : z) {
    sum += std::exp(static_cast<Real>(v) - largest);
  }
  return largest + std::log(sum);
}

inline std::vector<Real> oracle_log_softmax(const Row& z) {
  const Real lse = oracle_lse(z);
  std::vector<Real> out;
  for (const float v : z) {
    out.push_back(static_cast<Real>(v) - lse);
  }
  return out;
}

inline Real oracle_kl(const std::vector<Real>& log_p, const std::vector<Real>& log_q) {
  Real sum = 0;
  for (std::size_t v = 0; v < log_p.size(); ++v) {
    sum += std::exp(log_p[v]) * (log_p[v] - log_q[v]);
  }
  return sum;
}

inline Real oracle_js(const std::vector<Real>& log_p, const std::vector<Real>& log_q) {
  Real sum = 0;
  for (std::size_t v = 0; v < log_p.size(); ++v) {
    const Real p = std::exp(log_p[v]);
    const Real q = std::exp(log_q[v]);
    const Real log_u = std::log((p + q) / 2);
    sum += (p > 0 ? p * (log_p[v] - log_u) : 0) + (q > 0 ? q * (log_q[v] - log_u) : 0);
  }
  return sum / 2;
}

inline Real oracle_tv(const std::vector<Real>& log_p, const std::vector<Real>& log_q) {
  Real sum = 0;
  for (std::size_t v = 0; v < log_p.size(); ++v) {
    sum += std::abs(std::exp(log_p[v]) - std::exp(log_q[v]));
  }
  return sum / 2;
}

/// Ids by falling logit, equal ones by id.
inline std::vector<std::int32_t> oracle_order(const Row& z) {
  std::vector<std::int32_t> ids(z.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](std::int32_t i, std::int32_t j) {
    return z[static_cast<std::size_t>(i)] > z[static_cast<std::size_t>(j)];
  });
  return ids;
}

inline Real oracle_centred_dot(const Row& a, const Row& b, const Row& c, const Row& d) {
  Real mean_ab = 0;
  Real mean_cd = 0;
  const auto V = static_cast<Real>(a.size());
  for (std::size_t v = 0; v < a.size(); ++v) {
    mean_ab += (static_cast<Real>(a[v]) - static_cast<Real>(b[v])) / V;
    mean_cd += (static_cast<Real>(c[v]) - static_cast<Real>(d[v])) / V;
  }
  Real sum = 0;
  for (std::size_t v = 0; v < a.size(); ++v) {
    sum += (static_cast<Real>(a[v]) - static_cast<Real>(b[v]) - mean_ab) *
           (static_cast<Real>(c[v]) - static_cast<Real>(d[v]) - mean_cd);
  }
  return sum;
}

/// A row of plausible logits: a few likely tokens over a wide background.
inline Row random_row(std::int64_t V, std::mt19937_64& random, float spread = 3.0F) {
  std::normal_distribution<float> normal(0.0F, spread);
  Row z(static_cast<std::size_t>(V));
  for (float& v : z) {
    v = normal(random);
  }
  return z;
}

inline Row with_noise(const Row& z, float sigma, std::mt19937_64& random) {
  std::normal_distribution<float> normal(0.0F, 1.0F);
  Row out = z;
  for (float& v : out) {
    v += sigma * normal(random);
  }
  return out;
}

/// Both sweeps of one pair.
inline PairRow compare(const Row& reference, const Row& subject, const Row* base = nullptr,
                       std::int64_t next_token = -1, RowPath path = best_row_path()) {
  const auto V = static_cast<std::int64_t>(reference.size());
  const LaneRow reference_row = measure_lane(reference.data(), V, path);
  const LaneRow subject_row = measure_lane(subject.data(), V, path);
  const LaneRow base_row = base != nullptr ? measure_lane(base->data(), V, path) : LaneRow{};
  PairInput input;
  input.reference = reference.data();
  input.subject = subject.data();
  input.base = base != nullptr ? base->data() : nullptr;
  input.reference_row = &reference_row;
  input.subject_row = &subject_row;
  input.base_row = base != nullptr ? &base_row : nullptr;
  input.V = V;
  input.next_token = next_token;
  return compare_rows(input, path);
}

}  // namespace mg::test
