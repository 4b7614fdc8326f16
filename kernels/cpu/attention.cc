#include <algorithm>
#include <vector>

#include "kernels/contract/arguments.h"
#include "kernels/cpu/backend.h"

namespace mg::cpu {
namespace {

// Rows (positions times heads of a key/value head) that share a packed tile of keys: enough to make
// packing it cheap, few enough for their outputs to stay in the second-level cache.
constexpr std::int64_t kRowsPerBlock = 192;
static_assert(kKeyTile % kAttentionTile == 0);

struct Task {
  const AttentionSegment* segment;
  std::int64_t q_begin;
  std::int64_t q_end;
  std::int64_t kv_head;
};

std::vector<Task> tasks_of(std::span<const AttentionSegment> segments, std::int64_t kv_heads,
                           std::int64_t queries) {
  std::vector<Task> tasks;
  for (const AttentionSegment& segment : segments) {
    // Last queries first: they see the most keys, and long tasks should start early.
    for (std::int64_t end = segment.q_len; end > 0; end -= queries) {
      for (std::int64_t g = 0; g < kv_heads; ++g) {
        tasks.push_back({&segment, std::max<std::int64_t>(0, end - queries), end, g});
      }
    }
  }
  return tasks;
}

}  // namespace

void CpuBackend::attention(Mat q, Mat k, Mat v, std::span<const AttentionSegment> segments,
                           const AttentionParams& params, Mat out) {
  check_attention(q, k, v, segments, params, out);
  const Rows queries = rows_of(q);
  const Rows keys = rows_of(k);
  const Rows values = rows_of(v);
  const Rows target = rows_of(out);
  const std::int64_t dim = params.head_dim;
  const std::int64_t heads = params.heads / params.kv_heads;
  const std::int64_t per_block = std::max<std::int64_t>(1, kRowsPerBlock / heads);
  const std::vector<Task> tasks = tasks_of(segments, params.kv_heads, per_block);
  pool_.for_chunks(static_cast<std::int64_t>(tasks.size()), 1, [&](std::int64_t i, std::int64_t) {
    const Task& task = tasks[static_cast<std::size_t>(i)];
    const AttentionSegment& s = *task.segment;
    const ScratchPool::Lease scratch =
        scratch_.borrow(kernels_.attention_scratch(task.q_end - task.q_begin, heads, dim));
    kernels_.attention({.q = queries.row(s.q_begin) + task.kv_head * heads * dim,
                        .q_stride = queries.stride,
                        .k = keys.row(s.k_begin) + task.kv_head * dim,
                        .k_stride = keys.stride,
                        .v = values.row(s.k_begin) + task.kv_head * dim,
                        .v_stride = values.stride,
                        .out = target.row(s.q_begin) + task.kv_head * heads * dim,
                        .out_stride = target.stride,
                        .q_begin = task.q_begin,
                        .q_end = task.q_end,
                        .first_position = s.k_len - s.q_len,
                        .k_len = s.k_len,
                        .heads = heads,
                        .head_dim = dim,
                        .scale = static_cast<float>(params.scale),
                        .softcap = static_cast<float>(params.softcap),
                        .window = params.window,
                        .causal = params.causal,
                        .rounding = rounding_,
                        .scratch = scratch.data()});
  });
}

}  // namespace mg::cpu
