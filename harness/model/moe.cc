#include "harness/model/moe.h"

#include <vector>

#include "harness/model/lane_ops.h"

namespace mg {
namespace {

/// Rows of the stacked lanes that chose one expert, lane by lane, padded to `least` so that every
/// lane's call of a linear map is a large one: which kernel answers must not depend on how many
/// tokens chose the expert.
struct ExpertRows {
  std::vector<std::int32_t> gather;   // padded
  std::vector<LaneLinear> lanes;      // row ranges in `gather`; linear is filled per matrix
  std::vector<std::int64_t> used;     // real rows of each lane
  std::vector<std::int32_t> scatter;  // real rows of all lanes
  std::vector<float> weights;         // beside `scatter`
};

ExpertRows rows_of_expert(const RoutedExperts& routed, std::int32_t expert, std::int64_t k,
                          std::size_t lanes, std::int64_t tokens, std::int64_t least) {
  ExpertRows rows;
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    const auto begin = static_cast<std::int64_t>(rows.gather.size());
    for (std::int64_t t = 0; t < tokens; ++t) {
      const std::int64_t row = static_cast<std::int64_t>(lane) * tokens + t;
      for (std::int64_t i = 0; i < k; ++i) {
        const auto choice = static_cast<std::size_t>(row * k + i);
        if (routed.expert[choice] == expert) {
          rows.gather.push_back(static_cast<std::int32_t>(row));
          rows.scatter.push_back(static_cast<std::int32_t>(row));
          rows.weights.push_back(routed.weight[choice]);
        }
      }
    }
    const std::int64_t used = static_cast<std::int64_t>(rows.gather.size()) - begin;
    while (used > 0 && static_cast<std::int64_t>(rows.gather.size()) - begin < least) {
      rows.gather.push_back(rows.gather.back());
    }
    rows.used.push_back(used);
    rows.lanes.push_back({nullptr, begin, static_cast<std::int64_t>(rows.gather.size()) - begin});
  }
  return rows;
}

void project_expert(Backend& backend, std::span<const LaneBlock> lanes, std::size_t expert,
                    Linear ExpertWeights::*member, ExpertRows& rows, Mat x, Mat y) {
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    rows.lanes[i].linear = &(lanes[i].weights->experts[expert].*member);
  }
  lanes_linear(backend, rows.lanes, x, y);
}

/// Real rows of an expert's output, lane by lane, into the tokens' sums.
void scatter_expert(Backend& backend, const ExpertRows& rows, Mat from, Mat y) {
  std::size_t done = 0;
  for (std::size_t i = 0; i < rows.lanes.size(); ++i) {
    const auto used = static_cast<std::size_t>(rows.used[i]);
    backend.scatter_add_rows(from.row_range(rows.lanes[i].row_begin, rows.used[i]),
                             std::span(rows.scatter).subspan(done, used),
                             std::span(rows.weights).subspan(done, used), y);
    done += used;
  }
}

}  // namespace

void moe_block(Backend& backend, std::span<const LaneBlock> lanes, Mat x, Mat y, Workspace& work) {
  const ModelConfig& config = *lanes.front().config;
  const std::int64_t tokens = lanes.front().hidden.rows;
  const std::int64_t inner = config.moe_intermediate_size;
  const Mat logits = work.router(x.rows);  // [lanes*T, E]
  project(backend, lanes, {{&LayerWeights::router, logits}}, x);
  const RoutedExperts routed =
      backend.route_top_k(logits, config.num_experts_per_tok, config.norm_topk_prob);
  // In a step of few tokens every call is a small one.
  const std::int64_t stable = backend.min_stable_rows();
  const std::int64_t least = tokens >= stable ? stable : 1;
  backend.fill_zero(y);
  for (std::int64_t e = 0; e < config.num_experts; ++e) {
    ExpertRows rows = rows_of_expert(routed, static_cast<std::int32_t>(e),
                                     config.num_experts_per_tok, lanes.size(), tokens, least);
    if (rows.gather.empty()) {
      continue;
    }
    const auto count = static_cast<std::int64_t>(rows.gather.size());
    const auto expert = static_cast<std::size_t>(e);
    const Mat in = work.expert_in(count);          // [rows, H]
    const Mat gate_up = work.gate_up(count);       // [rows, 2 * I]
    const Mat gate = gate_up.col_range(0, inner);  // [rows, I]
    const Mat up = gate_up.col_range(inner, inner);
    const Mat out = work.expert_out(count);  // [rows, H]
    backend.gather_rows(x, rows.gather, in);
    project_expert(backend, lanes, expert, &ExpertWeights::gate, rows, in, gate);
    project_expert(backend, lanes, expert, &ExpertWeights::up, rows, in, up);
    backend.gated_activation(config.activation, gate, up, up);
    project_expert(backend, lanes, expert, &ExpertWeights::down, rows, up, out);
    scatter_expert(backend, rows, out, y);
  }
}

}  // namespace mg
