// Linear maps over several lanes: rows of lanes that share a matrix are multiplied by it in one
// call. Not for: the order of operations of a layer (forward.cc).
#pragma once

#include <cstdint>
#include <span>

#include "harness/model/forward.h"
#include "kernels/backend.h"

namespace mg {

/// A lane's matrix and the rows of x and y that are the lane's.
struct LaneLinear {
  const Linear* linear = nullptr;
  std::int64_t row_begin = 0;
  std::int64_t row_count = 0;
};

/// y[rows of lane] = x[rows of lane] * W^T + bias, plus each lane's own low-rank part; rows of
/// consecutive lanes must follow one another.  A lane's bits do not depend on which lanes stand
/// beside it.
void lanes_linear(Backend& backend, std::span<const LaneLinear> lanes, Mat x, Mat y);

/// The same with `member` of each lane's layer; x and y stack the lanes, each with its hidden
/// states' rows.
void project(Backend& backend, std::span<const LaneBlock> lanes, Linear LayerWeights::*member,
             Mat x, Mat y);

}  // namespace mg
