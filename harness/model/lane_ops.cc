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

/// How many lanes from `first` on may share their products, of all maps.
std::size_t sharing(std::span<const LaneMap> maps, std::size_t first, std::int64_t stable) {
  std::size_t least = maps.front().lanes.size();
  for (const LaneMap& map : maps) {
    std::int64_t rows = map.lanes[first].row_count;
    std::size_t next = first + 1;
    while (next < least && may_share(map.lanes[first], map.lanes[next], rows, stable)) {
      rows += map.lanes[next++].row_count;
    }
    least = next;
  }
  return least - first;
}

}  // namespace

void lanes_linear(Backend& backend, std::span<const LaneMap> maps, Mat x) {
  const std::size_t lanes = maps.front().lanes.size();
  for (std::size_t first = 0; first < lanes;) {
    const std::size_t end = first + sharing(maps, first, backend.min_stable_rows());
    const std::int64_t begin = maps.front().lanes[first].row_begin;
    std::int64_t rows = 0;
    for (std::size_t i = first; i < end; ++i) {
      rows += maps.front().lanes[i].row_count;
    }
    std::vector<LinearMap> products;
    for (const LaneMap& map : maps) {
      const Linear& linear = *map.lanes[first].linear;
      products.push_back({linear.weight, adds_bias_late(linear) ? TensorView{} : linear.bias,
                          map.y.row_range(begin, rows)});
    }
    if (rows > 0) {
      backend.linear_maps(x.row_range(begin, rows), products);
    }
    for (const LaneMap& map : maps) {
      for (std::size_t i = first; i < end; ++i) {
        const LaneLinear& lane = map.lanes[i];
        if (lane.row_count > 0) {
          add_low_rank(backend, *lane.linear, x.row_range(lane.row_begin, lane.row_count),
                       map.y.row_range(lane.row_begin, lane.row_count));
        }
      }
    }
    first = end;
  }
}

void lanes_linear(Backend& backend, std::span<const LaneLinear> lanes, Mat x, Mat y) {
  const LaneMap map{{lanes.begin(), lanes.end()}, y};
  lanes_linear(backend, std::span(&map, 1), x);
}

void project(Backend& backend, std::span<const LaneBlock> lanes,
             std::initializer_list<Projection> projections, Mat x) {
  std::vector<LaneMap> maps;
  for (const Projection& projection : projections) {
    LaneMap& map = maps.emplace_back(LaneMap{{}, projection.y});
    for (const LaneBlock& lane : lanes) {
      const auto index = static_cast<std::int64_t>(map.lanes.size());
      map.lanes.push_back(
          {&(lane.weights->*projection.member), index * lane.hidden.rows, lane.hidden.rows});
    }
  }
  lanes_linear(backend, maps, x);
}

}  // namespace mg
