#include <algorithm>
#include <cmath>

#include "kernels/contract/arguments.h"
#include "kernels/reference/backend.h"

namespace mg::reference {
namespace {

double score(const Row& q, const Row& k, const AttentionParams& params) {
  const double s = params.scale * q.dot(k);
  return params.softcap > 0 ? params.softcap * std::tanh(s / params.softcap) : s;
}

}  // namespace

void ReferenceBackend::attention(Mat q, Mat k, Mat v, std::span<const AttentionSegment> segments,
                                 const AttentionParams& params, Mat out) {
  check_attention(q, k, v, segments, params, out);
  const std::int64_t dim = params.head_dim;
  const std::int64_t heads_per_kv = params.heads / params.kv_heads;
  for (const AttentionSegment& s : segments) {
    for (std::int64_t i = 0; i < s.q_len; ++i) {
      const std::int64_t position = s.k_len - s.q_len + i;
      const std::int64_t end = params.causal ? position + 1 : s.k_len;
      const std::int64_t begin =
          params.window > 0 ? std::max<std::int64_t>(0, position + 1 - params.window) : 0;
      for (std::int64_t h = 0; h < params.heads; ++h) {
        const std::int64_t kv_column = h / heads_per_kv * dim;
        const Row query = view(q).block(s.q_begin + i, h * dim, 1, dim);
        Row probability(end - begin);
        for (std::int64_t j = begin; j < end; ++j) {
          probability(j - begin) =
              score(query, view(k).block(s.k_begin + j, kv_column, 1, dim), params);
        }
        probability = (probability.array() - probability.maxCoeff<Eigen::PropagateNaN>()).exp();
        const double sum = probability.sum();
        // Not yet divided when rounded, as flash attention does (contract).
        const Row weighted =
            rounded(probability) * view(v).block(s.k_begin + begin, kv_column, end - begin, dim);
        view(out).block(s.q_begin + i, h * dim, 1, dim) = rounded(weighted / sum);
      }
    }
  }
}

}  // namespace mg::reference
