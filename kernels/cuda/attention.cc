#include <algorithm>
#include <string>

#include "kernels/contract/arguments.h"
#include "kernels/core/error.h"
#include "kernels/cuda/backend.h"

namespace mg::cuda {
namespace {

static_assert(kKeyTile % kAttentionKeys == 0);

std::vector<AttentionTask> tasks_of(std::span<const AttentionSegment> segments,
                                    std::int64_t heads_per_kv) {
  std::vector<AttentionTask> tasks;
  for (const AttentionSegment& s : segments) {
    // Last queries first: they see the most keys, and long blocks should start early.
    for (std::int64_t end = s.q_len * heads_per_kv; end > 0;) {
      const std::int64_t begin = (end - 1) / kAttentionRows * kAttentionRows;
      tasks.push_back({.q_row = s.q_begin,
                       .k_row = s.k_begin,
                       .k_len = s.k_len,
                       .past = s.k_len - s.q_len,
                       .begin = begin,
                       .end = end});
      end = begin;
    }
  }
  return tasks;
}

}  // namespace

void CudaBackend::attention(Mat q, Mat k, Mat v, std::span<const AttentionSegment> segments,
                            const AttentionParams& params, Mat out) {
  check_attention(q, k, v, segments, params, out);
  if (params.head_dim > kLargestHead) {
    throw Error({.code = "cuda.head-size",
                 .what = "the cuda backend has no attention for heads this large",
                 .where = {},
                 .expected = "at most " + std::to_string(kLargestHead),
                 .actual = std::to_string(params.head_dim),
                 .hint = "--backend cpu runs every size"});
  }
  const std::int64_t heads_per_kv = params.heads / params.kv_heads;
  const std::vector<AttentionTask> tasks = tasks_of(segments, heads_per_kv);
  const Memory staged = device_.put(std::span(tasks), "uploading segments");
  cuda::attention({.q = rows_of(q),
                   .k = rows_of(k),
                   .v = rows_of(v),
                   .out = rows_of(out),
                   .tasks = staged.as<const AttentionTask>(),
                   .task_count = static_cast<std::int64_t>(tasks.size()),
                   .heads_per_kv = heads_per_kv,
                   .kv_heads = params.kv_heads,
                   .head_dim = params.head_dim,
                   .scale = static_cast<float>(params.scale),
                   .softcap = static_cast<float>(params.softcap),
                   .window = params.window,
                   .causal = params.causal},
                  element_, device_.compute());
}

}  // namespace mg::cuda
