// Attention and rotary embedding at a 135M model's sizes (N 9, G 3, D 64) and a larger one's.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/bench/operation.h"
#include "kernels/contract/tolerance.h"

namespace mg::bench {
namespace {

using contract::Random;

struct AttentionShape {
  const char* name;
  std::int64_t prompts;
  std::int64_t queries;  // of each prompt
  std::int64_t keys;     // the last `queries` of them are the queries' own
  AttentionParams params;
};

AttentionParams params(std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim,
                       std::int64_t window = 0, double softcap = 0) {
  AttentionParams p;
  p.heads = heads;
  p.kv_heads = kv_heads;
  p.head_dim = head_dim;
  p.scale = 1 / std::sqrt(static_cast<double>(head_dim));
  p.window = window;
  p.softcap = softcap;
  return p;
}

/// Pairs of query and key that see each other, in one prompt.
std::int64_t visible_pairs(const AttentionShape& s) {
  std::int64_t pairs = 0;
  for (std::int64_t q = 0; q < s.queries; ++q) {
    const std::int64_t seen = s.keys - s.queries + q + 1;
    pairs += s.params.window > 0 ? std::min(seen, s.params.window) : seen;
  }
  return pairs;
}

/// The largest norm of the vectors of `dim` elements that make up x.
double largest_norm(const std::vector<float>& x, std::int64_t dim) {
  double largest = 0;
  for (std::size_t i = 0; i < x.size(); i += static_cast<std::size_t>(dim)) {
    double sum = 0;
    for (std::size_t d = i; d < i + static_cast<std::size_t>(dim); ++d) {
      sum += static_cast<double>(x[d]) * static_cast<double>(x[d]);
    }
    largest = std::max(largest, std::sqrt(sum));
  }
  return largest;
}

OperationCase attention_case(const AttentionShape& s) {
  const AttentionParams& p = s.params;
  const std::int64_t q_rows = s.prompts * s.queries;
  const std::int64_t k_rows = s.prompts * s.keys;
  const std::int64_t q_cols = p.heads * p.head_dim;
  const std::int64_t kv_cols = p.kv_heads * p.head_dim;
  OperationCase c;
  c.name = fmt::format("attention/{} N{} G{} D{}/T:{}x{}", s.name, p.heads, p.kv_heads, p.head_dim,
                       s.prompts, s.keys);
  const auto pairs = static_cast<double>(s.prompts * p.heads * visible_pairs(s));
  c.flops = pairs * (4 * static_cast<double>(p.head_dim) + 1);
  c.bytes = 4.0 * static_cast<double>(2 * q_rows * q_cols + 2 * k_rows * kv_cols);
  c.cols = q_cols;
  struct Inputs {
    std::vector<float> q, k, v;
    contract::AttentionScale scale;
  };
  auto in = std::make_shared<Inputs>();
  const auto fill = [=] {
    if (in->q.empty()) {
      Random random(21);
      in->q = random.normals(q_rows * q_cols);
      in->k = random.normals(k_rows * kv_cols);
      in->v = random.normals(k_rows * kv_cols);
      in->scale.keys = s.keys;
      in->scale.head_dim = p.head_dim;
      in->scale.score = p.scale * largest_norm(in->q, p.head_dim) * largest_norm(in->k, p.head_dim);
      in->scale.largest_value = largest_norm(in->v, 1);
      in->scale.value = in->scale.largest_value;
    }
  };
  c.place = [=](Backend& backend, std::int64_t) {
    fill();
    std::vector<AttentionSegment> segments;
    for (std::int64_t i = 0; i < s.prompts; ++i) {
      segments.push_back({i * s.queries, s.queries, i * s.keys, s.keys});
    }
    auto memory = std::make_shared<Memory>(backend);
    const Mat q = memory->put(in->q, q_rows, q_cols);
    const Mat k = memory->put(in->k, k_rows, kv_cols);
    const Mat v = memory->put(in->v, k_rows, kv_cols);
    const Mat out = memory->room(q_rows, q_cols);
    return Placed{{},
                  [&backend, q, k, v, segments, s, out] {
                    backend.attention(q, k, v, segments, s.params, out);
                  },
                  [memory, out] { return memory->get(out); }};
  };
  c.allowed = [in](std::size_t, double expected) {
    return contract::attention(Arithmetic::kExact, expected, in->scale);
  };
  return c;
}

OperationCase rope_case(std::int64_t rows, std::int64_t heads, std::int64_t head_dim) {
  const std::int64_t cols = heads * head_dim;
  const std::int64_t half = head_dim / 2;
  OperationCase c;
  c.name = fmt::format("rope/N{} D{}/T:{}", heads, head_dim, rows);
  c.flops = 3.0 * static_cast<double>(rows * cols);
  c.bytes = 4.0 * static_cast<double>(rows * (2 * cols + head_dim));
  c.cols = cols;
  c.place = [=](Backend& backend, std::int64_t) {
    Random random(22);
    std::vector<float> cos, sin;
    for (std::int64_t i = 0; i < rows * half; ++i) {
      const double angle = random.uniform(0, 6.28);
      cos.push_back(static_cast<float>(std::cos(angle)));
      sin.push_back(static_cast<float>(std::sin(angle)));
    }
    auto memory = std::make_shared<Memory>(backend);
    const Mat cosines = memory->put(cos, rows, half);
    const Mat sines = memory->put(sin, rows, half);
    const Mat x = memory->put(random.normals(rows * cols), rows, cols);
    // A rotated vector keeps its length, so calls may follow one another.
    return Placed{{},
                  [&backend, cosines, sines, heads, head_dim, x] {
                    backend.rope(cosines, sines, heads, head_dim, x);
                  },
                  [memory, x] { return memory->get(x); }};
  };
  // |x1 cos| + |x2 sin| <= |(x1, x2)|, and twelve uniforms never sum to more than 6
  c.allowed = [](std::size_t, double expected) {
    return contract::rope(Arithmetic::kExact, expected, std::sqrt(2.0) * 6);
  };
  return c;
}

}  // namespace

void add_attention_cases(OperationCases& cases) {
  const AttentionParams small = params(9, 3, 64);
  for (const AttentionShape& shape : {
           AttentionShape{"prompts", 8, 128, 128, small},
           AttentionShape{"prompt", 1, 1024, 1024, small},
           AttentionShape{"step", 16, 1, 512, small},
           AttentionShape{"window 256", 1, 1024, 1024, params(9, 3, 64, 256)},
           AttentionShape{"softcap", 1, 512, 512, params(8, 4, 256, 0, 50.0)},
           AttentionShape{"prompt", 1, 512, 512, params(32, 8, 128)},
       }) {
    cases.push_back(attention_case(shape));
  }
  cases.push_back(rope_case(1024, 9, 64));
  cases.push_back(rope_case(1024, 32, 128));
}

}  // namespace mg::bench
