// Linear maps over several lanes: rows of lanes that share a matrix are multiplied by it in one
// call. Not for: the order of operations of a layer (forward.cc).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

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

/// One of several maps of the same x: which matrix is each lane's, and where the results go.
struct LaneMap {
  std::vector<LaneLinear> lanes;
  Mat y;
};

/// lanes_linear() with each map; lanes have the same rows in all of them.
void lanes_linear(Backend& backend, std::span<const LaneMap> maps, Mat x);

/// A matrix of each lane's layer and where its results go.
struct Projection {
  Linear LayerWeights::*member;
  Mat y;
};

/// Several maps of the same x in one go; x and y stack the lanes, each with its hidden states'
/// rows.
void project(Backend& backend, std::span<const LaneBlock> lanes,
             std::initializer_list<Projection> projections, Mat x);

}  // namespace mg
