#include <algorithm>

#include "harness/model/forward.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

enum Part : std::size_t {
  kNormed,
  kQkv,
  kAttended,
  kOutput,
  kGateUp,
  kRouter,
  kExpertIn,
  kExpertOut
};

/// Elements from row to row: an odd number of cache lines, so that a column of a matrix, which is
/// what a tile of a product writes, does not fall into a few sets of the caches.
std::int64_t stride_of(std::int64_t cols) {
  constexpr std::int64_t kLine = 16;
  const std::int64_t lines = (cols + kLine - 1) / kLine;
  return (lines + (lines % 2 == 0 ? 1 : 0)) * kLine;
}

}  // namespace

Workspace::Workspace(Backend& backend, const ModelConfig& config, std::int64_t lanes,
                     std::int64_t attention_tokens, std::int64_t mlp_tokens)
    : backend_(&backend) {
  const std::int64_t attention_rows = lanes * attention_tokens;
  const std::int64_t mlp_rows = lanes * mlp_tokens;
  const std::int64_t both = std::max(attention_rows, mlp_rows);
  const bool moe = config.num_experts > 0;
  // Every lane of an expert is padded up to kMinStableRows (moe.cc).
  const std::int64_t expert_rows = moe ? lanes * std::max(mlp_tokens, kMinStableRows) : 0;
  const std::int64_t heads = config.num_attention_heads;
  const std::int64_t kv_heads = config.num_key_value_heads;
  const std::int64_t inner = std::max(config.intermediate_size, config.moe_intermediate_size);
  const auto add = [&](std::int64_t rows, std::int64_t cols) {
    rows_.push_back(rows);
    cols_.push_back(cols);
    buffers_.push_back(backend.allocate(rows * stride_of(cols)));
  };
  add(both, config.hidden_size);
  add(attention_rows, (heads + 2 * kv_heads) * config.head_dim);
  add(attention_rows, heads * config.head_dim);
  add(both, config.hidden_size);
  add(std::max(mlp_rows, expert_rows), 2 * inner);
  add(moe ? mlp_rows : 0, config.num_experts);
  add(expert_rows, config.hidden_size);
  add(expert_rows, config.hidden_size);
}

Mat Workspace::part(std::size_t index, std::int64_t rows) const {
  MG_CHECK(rows <= rows_[index], "workspace is large enough");
  return {buffers_[index].get(), 0, rows, cols_[index], stride_of(cols_[index])};
}

Mat Workspace::normed(std::int64_t rows) const {
  return part(kNormed, rows);
}
Mat Workspace::qkv(std::int64_t rows) const {
  return part(kQkv, rows);
}
Mat Workspace::attended(std::int64_t rows) const {
  return part(kAttended, rows);
}
Mat Workspace::output(std::int64_t rows) const {
  return part(kOutput, rows);
}
Mat Workspace::gate_up(std::int64_t rows) const {
  return part(kGateUp, rows);
}
Mat Workspace::router(std::int64_t rows) const {
  return part(kRouter, rows);
}
Mat Workspace::expert_in(std::int64_t rows) const {
  return part(kExpertIn, rows);
}
Mat Workspace::expert_out(std::int64_t rows) const {
  return part(kExpertOut, rows);
}

void Workspace::keep_for_head() {
  for (std::size_t index = 0; index < buffers_.size(); ++index) {
    if (index != kNormed) {
      buffers_[index].reset();
      rows_[index] = 0;
    }
  }
}

Mat Workspace::overridden(std::int64_t rows, std::int64_t cols) {
  if (rows * cols > overridden_elements_) {
    overridden_ = backend_->allocate(rows * cols);
    overridden_elements_ = rows * cols;
  }
  return whole(*overridden_, rows, cols);
}

}  // namespace mg
