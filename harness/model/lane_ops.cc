#include "harness/model/lane_ops.h"

#include <vector>

namespace mg {
namespace {

/// DoRA scales the product before the bias is added, so such a lane cannot share a biased product.
bool adds_bias_late(const Linear& linear) {
  return !linear.delta.dora.empty();
}

bool same_product(const Linear& first, const Linear& second) {
  const bool same_bias =
      first.bias.data == second.bias.data && !adds_bias_late(first) && !adds_bias_late(second);
  return first.weight.values.data == second.weight.values.data &&
         first.weight.transposed == second.weight.transposed &&
         (same_bias || (first.bias.empty() && second.bias.empty()));
}

/// Sharing must not change which kernel answers: one for calls of `stable` rows and more, one for
/// fewer.
bool may_share(const LaneLinear& first, const LaneLinear& next, std::int64_t rows_so_far,
               std::int64_t stable) {
  if (!same_product(*first.linear, *next.linear)) {
    return false;
  }
  const bool first_large = first.row_count >= stable;
  const bool next_large = next.row_count >= stable;
  const bool together_large = rows_so_far + next.row_count >= stable;
  return first_large == next_large && (next_large || !together_large);
}

void add_low_rank(Backend& backend, const Linear& linear, Mat x, Mat y) {
  const LowRank& delta = linear.delta;
  if (delta.empty()) {
    return;
  }
  backend.low_rank(x, delta.a, delta.b, delta.scale, y);
  if (!delta.bias.empty()) {
    backend.add_vector(delta.bias, delta.scale, y);
  }
  if (adds_bias_late(linear)) {
    backend.scale_columns(delta.dora, y);
    if (!linear.bias.empty()) {
      backend.add_vector(linear.bias, 1.0, y);
    }
  }
}

}  // namespace

void lanes_linear(Backend& backend, std::span<const LaneLinear> lanes, Mat x, Mat y) {
  for (std::size_t first = 0; first < lanes.size();) {
    std::int64_t rows = lanes[first].row_count;
    std::size_t next = first + 1;
    while (next < lanes.size() &&
           may_share(lanes[first], lanes[next], rows, backend.min_stable_rows())) {
      rows += lanes[next++].row_count;
    }
    const std::int64_t begin = lanes[first].row_begin;
    const Linear& linear = *lanes[first].linear;
    const TensorView bias = adds_bias_late(linear) ? TensorView{} : linear.bias;
    if (rows > 0) {
      backend.linear(x.row_range(begin, rows), linear.weight, bias, y.row_range(begin, rows));
    }
    for (; first < next; ++first) {
      const LaneLinear& lane = lanes[first];
      if (lane.row_count > 0) {
        add_low_rank(backend, *lane.linear, x.row_range(lane.row_begin, lane.row_count),
                     y.row_range(lane.row_begin, lane.row_count));
      }
    }
  }
}

void project(Backend& backend, std::span<const LaneBlock> lanes, Linear LayerWeights::*member,
             Mat x, Mat y) {
  std::vector<LaneLinear> parts;
  for (const LaneBlock& lane : lanes) {
    const auto index = static_cast<std::int64_t>(parts.size());
    parts.push_back({&(lane.weights->*member), index * lane.hidden.rows, lane.hidden.rows});
  }
  lanes_linear(backend, parts, x, y);
}

}  // namespace mg
