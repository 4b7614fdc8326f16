#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/contract/conformance/fixture.h"
#include "kernels/contract/tolerance.h"

namespace mg::contract {
namespace {

struct AttentionCase {
  const char* name;
  AttentionParams params;
  std::vector<AttentionSegment> segments;
  Planted in_k = Planted::kNothing;
  Planted in_v = Planted::kNothing;
};

struct Inputs {
  std::int64_t queries = 0;
  std::int64_t keys = 0;
  std::vector<float> q, k, v;
};

Inputs inputs_of(const AttentionCase& c, Random& random) {
  Inputs in;
  for (const AttentionSegment& s : c.segments) {
    in.queries = std::max(in.queries, s.q_begin + s.q_len);
    in.keys = std::max(in.keys, s.k_begin + s.k_len);
  }
  const AttentionParams& p = c.params;
  in.q = random.normals(in.queries * p.heads * p.head_dim);
  in.k = random.normals(in.keys * p.kv_heads * p.head_dim);
  in.v = random.normals(in.keys * p.kv_heads * p.head_dim);
  // In the middle: queries before the key must not notice, those after it must.
  if (c.in_k != Planted::kNothing) {
    in.k[in.k.size() / 2] = planted_value(c.in_k);
  }
  if (c.in_v != Planted::kNothing) {
    in.v[in.v.size() / 2] = planted_value(c.in_v);
  }
  return in;
}

/// Runs attention with `v` for the values; rows outside all segments stay zero.
Operation apply(const AttentionCase& c, const Inputs& in, const std::vector<float>& v) {
  return [&](Backend& backend, Stage& stage) {
    const std::int64_t q_cols = c.params.heads * c.params.head_dim;
    const std::int64_t kv_cols = c.params.kv_heads * c.params.head_dim;
    const Mat out = stage.output(in.queries, q_cols);
    backend.fill_zero(out);
    backend.attention(stage.put(in.q, in.queries, q_cols), stage.put(in.k, in.keys, kv_cols),
                      stage.put(v, in.keys, kv_cols), c.segments, c.params, out);
    return out;
  };
}

/// Keys seen and the largest sum of |q| |k| for one row and head.
AttentionScale scale_of(const AttentionCase& c, const Inputs& in, std::int64_t row,
                        std::int64_t head) {
  const AttentionParams& p = c.params;
  AttentionScale scale;
  scale.head_dim = p.head_dim;
  for (const AttentionSegment& s : c.segments) {
    if (row < s.q_begin || row >= s.q_begin + s.q_len) {
      continue;
    }
    const std::int64_t position = s.k_len - s.q_len + row - s.q_begin;
    const std::int64_t end = p.causal ? position + 1 : s.k_len;
    const std::int64_t begin =
        p.window > 0 ? std::max<std::int64_t>(0, position + 1 - p.window) : 0;
    scale.keys = end - begin;
    const std::int64_t group = head / (p.heads / p.kv_heads);
    for (std::int64_t j = begin; j < end; ++j) {
      double sum = 0;
      for (std::int64_t d = 0; d < p.head_dim; ++d) {
        const auto qi = static_cast<std::size_t>((row * p.heads + head) * p.head_dim + d);
        const auto ki =
            static_cast<std::size_t>(((s.k_begin + j) * p.kv_heads + group) * p.head_dim + d);
        sum += std::fabs(static_cast<double>(in.q[qi]) * static_cast<double>(in.k[ki]));
        scale.largest_value =
            std::max(scale.largest_value, std::fabs(static_cast<double>(in.v[ki])));
      }
      scale.score = std::max(scale.score, std::fabs(p.scale) * sum);
    }
  }
  return scale;
}

CaseResult run_attention(const AttentionCase& c, const Parties& parties, Random& random) {
  const Inputs in = inputs_of(c, random);
  const std::vector<float> abs_v = magnitude_of(in.v);
  const std::vector<float> mean_values = result_of(parties.exact, apply(c, in, abs_v));
  const Arithmetic arithmetic = parties.subject.arithmetic();
  const std::int64_t dim = c.params.head_dim;
  AttentionScale scale;
  std::int64_t known = -1;  // the row and head `scale` is for
  const Allowed allowed = [&](std::size_t i, double expected) {
    const std::int64_t head = static_cast<std::int64_t>(i) / dim;
    if (head != known) {
      scale = scale_of(c, in, head / c.params.heads, head % c.params.heads);
      known = head;
    }
    scale.value = static_cast<double>(mean_values[i]);
    return attention(arithmetic, expected, scale);
  };
  // Probabilities are rounded over whatever maximum is known, so more than a flip here and there
  // differs.
  const double share = arithmetic == Arithmetic::kExact ? 0.0 : 0.5;
  return judge(parties, apply(c, in, in.v), allowed, share);
}

AttentionParams params(std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim) {
  AttentionParams p;
  p.heads = heads;
  p.kv_heads = kv_heads;
  p.head_dim = head_dim;
  p.scale = 1 / std::sqrt(static_cast<double>(head_dim));
  return p;
}

AttentionParams with(AttentionParams p, std::int64_t window, double softcap, bool causal = true) {
  p.window = window;
  p.softcap = softcap;
  p.causal = causal;
  return p;
}

std::vector<AttentionCase> attention_list() {
  // Prompts of 1, 16, 31 and 150 tokens side by side, one step against a cache, a chunk against a
  // cache.
  const std::vector<AttentionSegment> mixed = {{0, 1, 0, 1},       {1, 16, 1, 16},
                                               {17, 31, 17, 31},   {48, 150, 48, 150},
                                               {198, 1, 198, 200}, {199, 33, 398, 161}};
  const std::vector<AttentionSegment> one_step = {{0, 1, 0, 300}};
  // A token of each of several prompts, whose slots in a cache have room to spare.
  const std::vector<AttentionSegment> decoding = {
      {0, 1, 0, 1}, {1, 1, 10, 129}, {2, 1, 400, 37}, {3, 1, 500, 256}};
  const std::vector<AttentionSegment> long_prompt = {{0, 400, 0, 400}};
  return {
      {"none", params(2, 1, 8), {}},
      {"one token", params(1, 1, 1), {{0, 1, 0, 1}}},
      {"mixed D64 GQA 9:3", params(9, 3, 64), mixed},
      {"mixed D20 MHA", params(3, 3, 20), mixed},
      {"mixed D80 MQA 5:1", params(5, 1, 80), mixed},
      {"mixed D256", params(2, 1, 256), mixed},
      {"window 1", with(params(2, 2, 16), 1, 0), mixed},
      {"window 7", with(params(4, 2, 32), 7, 0), mixed},
      {"window 130", with(params(2, 1, 32), 130, 0), long_prompt},
      {"softcap", with(params(4, 2, 32), 0, 3.0), mixed},
      {"softcap window", with(params(4, 2, 17), 50, 5.0), mixed},
      {"not causal", with(params(2, 2, 72), 0, 0, false), mixed},
      {"one step", params(6, 2, 64), one_step},
      {"one step window", with(params(6, 2, 64), 100, 0), one_step},
      {"decoding", params(6, 2, 64), decoding},
      {"decoding D20 softcap", with(params(3, 3, 20), 0, 3.0), decoding},
      {"decoding window", with(params(4, 1, 32), 50, 0), decoding},
      {"NaN in k of decoding", params(4, 2, 32), decoding, Planted::kNan},
      {"long", params(2, 1, 64), long_prompt},
      {"NaN in k", params(4, 2, 32), long_prompt, Planted::kNan},
      {"NaN in v", params(4, 2, 32), long_prompt, Planted::kNothing, Planted::kNan},
      {"NaN in v window", with(params(4, 2, 32), 9, 0), long_prompt, Planted::kNothing,
       Planted::kNan},
      {"Inf in v", params(4, 2, 32), long_prompt, Planted::kNothing, Planted::kInf},
      {"NaN in k not causal", with(params(2, 2, 16), 0, 0, false), mixed, Planted::kNan},
      {"NaN in v mixed", params(3, 1, 24), mixed, Planted::kNothing, Planted::kNan},
  };
}

}  // namespace

void add_attention_cases(Cases& cases) {
  for (const AttentionCase& c : attention_list()) {
    add_case(cases, "attention", c.name,
             [c](const Parties& p, Random& random) { return run_attention(c, p, random); });
  }
}

}  // namespace mg::contract
