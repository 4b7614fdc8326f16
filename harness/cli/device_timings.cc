#include "harness/cli/device_timings.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "harness/lanes/announced.h"
#include "kernels/contract/conformance/fixture.h"
#include "kernels/core/dequantise.h"
#include "kernels/merge_statistics.h"
#include "kernels/row_statistics.h"

namespace mg {
namespace {

// A 7B model's layer.
constexpr std::int64_t kH = 4096;
constexpr std::int64_t kI = 11008;
constexpr std::int64_t kHeads = 32;
constexpr std::int64_t kKvHeads = 8;
constexpr std::int64_t kHeadDim = 128;
constexpr std::int64_t kKv = kKvHeads * kHeadDim;
constexpr std::int64_t kRank = 16;
constexpr std::int64_t kVocabulary = 32000;
constexpr std::int64_t kExperts = 128;
constexpr std::int64_t kTableRows = 4096;
constexpr std::int64_t kSweptRows = 128;    // a chunk of logits
constexpr std::int64_t kUploadedRows = 16;  // of a product for whose sake a weight is uploaded

/// One call, and what it costs at least (kernels/cuda/ROOFLINE.md).
struct TimedCall {
  std::string name;
  double flops;
  double bytes;
  std::function<void()> call;
};

class Timings {
 public:
  Timings(Backend& backend, std::int64_t rows) : backend_(backend), rows_(rows) {
    backend_.fill_zero(mark_);
  }

  void print() {
    fmt::print("  {:<24} {:>10} {:>10} {:>10} {:>14}\n", "operation", "us", "GFLOP/s", "GB/s",
               "of copy's GB/s");
    memory();
    layer();
    products();
    statistics();
    merges();
    uploads();
  }

 private:
  using Tensor = contract::StoredTensor;

  Mat filled(std::int64_t rows, std::int64_t cols) {
    buffers_.push_back(backend_.allocate(rows * cols));
    const Mat mat = whole(*buffers_.back(), rows, cols);
    backend_.upload(random_.normals(rows * cols), mat);
    return mat;
  }
  Tensor tensor(const Shape& shape, double scale) {
    return contract::random_tensor(random_, DType::kBF16, shape, scale);
  }
  /// Bytes of an activation.
  double size() const { return backend_.arithmetic() == Arithmetic::kExact ? 4 : 2; }

  /// Seconds of one call: the best of five groups.
  double seconds_of(const TimedCall& timed) {
    using Clock = std::chrono::steady_clock;
    const auto group = [&](int calls) {
      const auto begin = Clock::now();
      for (int i = 0; i < calls; ++i) {
        timed.call();
      }
      std::vector<float> staging;  // waits for the device
      backend_.read(mark_, staging);
      return std::chrono::duration<double>(Clock::now() - begin).count();
    };
    group(1);
    const double first = group(1);
    const int calls = std::clamp(static_cast<int>(0.02 / std::max(first, 1e-6)), 1, 200);
    double best = first;
    for (int i = 0; i < 5; ++i) {
      best = std::min(best, group(calls) / calls);
    }
    return best;
  }

  void time(const TimedCall& timed) {
    const double seconds = seconds_of(timed);
    const double rate = timed.bytes / seconds / 1e9;
    copy_rate_ = copy_rate_ == 0 ? rate : copy_rate_;
    fmt::print("  {:<24} {:>10.1f} {:>10.1f} {:>10.1f} {:>13.0f}%\n", timed.name, seconds * 1e6,
               timed.flops / seconds / 1e9, rate, 100 * rate / copy_rate_);
  }

  /// What moves or touches [T, H] once.
  void memory() {
    const Mat x = filled(rows_, kH);
    const Mat y = filled(rows_, kH);
    const double h = static_cast<double>(rows_ * kH);
    std::vector<std::int32_t> order(static_cast<std::size_t>(rows_));
    std::iota(order.rbegin(), order.rend(), 0);
    const std::vector<float> factors(static_cast<std::size_t>(std::max(rows_, kH)), 0.5F);
    const std::span<const float> by_row(factors.data(), order.size());
    const std::span<const float> by_column(factors.data(), static_cast<std::size_t>(kH));
    const Tensor vector = tensor({kH}, 1.0);
    const Tensor table = tensor({kTableRows, kH}, 1.0);
    const Announced resident(backend_, std::vector<Weight>{{table.view(), false}});
    time({"copy", 0, 2 * size() * h, [&] { backend_.copy(x, y); }});
    time({"fill_zero", 0, size() * h, [&] { backend_.fill_zero(y); }});
    time({"gather_rows", 0, 2 * size() * h, [&] { backend_.gather_rows(x, order, y); }});
    time({"scatter_add_rows", 2 * h, 3 * size() * h,
          [&] { backend_.scatter_add_rows(x, order, by_row, y); }});
    time({"add", h, 3 * size() * h, [&] { backend_.add(x, y); }});
    time({"scale_columns", h, 2 * size() * h, [&] { backend_.scale_columns(by_column, y); }});
    time(
        {"add_vector", 2 * h, 2 * size() * h, [&] { backend_.add_vector(vector.view(), 1.0, y); }});
    time({"softcap", 20 * h, 2 * size() * h, [&] { backend_.softcap(30.0, y); }});
    time({"embed", h, (2 + size()) * h, [&] { backend_.embed(table.view(), order, 1.0, y); }});
    buffers_.clear();
  }

  /// The rest of a layer but for its products.
  void layer() {
    const Mat x = filled(rows_, kH);
    const Mat y = filled(rows_, kH);
    const Mat z = filled(rows_, kH);
    const Mat k = filled(rows_, kKv);
    const Mat v = filled(rows_, kKv);
    const Mat gate = filled(rows_, kI);
    const Mat up = filled(rows_, kI);
    const Mat angles = filled(rows_, kHeadDim / 2);
    const Mat logits = filled(rows_, kExperts);
    const Tensor norm = tensor({kH}, 1.0);
    const double t = static_cast<double>(rows_);
    const double h = t * kH;
    const double inner = t * kI;
    const std::vector<AttentionSegment> prompt{{0, rows_, 0, rows_}};
    AttentionParams params;
    params.heads = kHeads;
    params.kv_heads = kKvHeads;
    params.head_dim = kHeadDim;
    params.scale = 1 / std::sqrt(static_cast<double>(kHeadDim));
    time({"rms_norm", 4 * h, 2 * size() * h,
          [&] { backend_.rms_norm(x, norm.view(), 1e-6, 0, 1, y); }});
    time({"layer_norm", 7 * h, 2 * size() * h,
          [&] { backend_.layer_norm(x, norm.view(), norm.view(), 1e-6, y); }});
    time({"add_rms_norm", 5 * h, 4 * size() * h,
          [&] { backend_.add_rms_norm(x, z, norm.view(), 1e-6, 0, y); }});
    time({"add_layer_norm", 8 * h, 4 * size() * h,
          [&] { backend_.add_layer_norm(x, z, norm.view(), norm.view(), 1e-6, y); }});
    time({"rope", 6 * h, 2 * size() * h,
          [&] { backend_.rope(angles, angles, kHeads, kHeadDim, y); }});
    time({"attention", 2 * h * t, size() * (2 * h + 2 * t * kKv),
          [&] { backend_.attention(x, k, v, prompt, params, y); }});
    time({"activation", 20 * inner, 2 * size() * inner,
          [&] { backend_.activation(ActivationKind::kSilu, gate); }});
    time({"gated_activation", 20 * inner, 3 * size() * inner,
          [&] { backend_.gated_activation(ActivationKind::kSilu, gate, up, gate); }});
    time({"route_top_k 8 of 128", 8 * t * kExperts, 8 * size() * t * kExperts,
          [&] { backend_.route_top_k(logits, 8, true); }});
    buffers_.clear();
  }

  void products() {
    const Mat x = filled(rows_, kH);
    const Mat up = filled(rows_, kI);
    const Tensor w = tensor({kI, kH}, 0.02);
    const Tensor a = tensor({kRank, kH}, 0.02);
    const Tensor b = tensor({kI, kRank}, 0.02);
    const std::vector<Weight> weights{{w.view(), false}, {a.view(), false}, {b.view(), false}};
    const double t = static_cast<double>(rows_);
    const Announced resident(backend_, weights);
    time({"linear 11008x4096", 2 * t * kH * kI, size() * (t * (kH + kI) + double{kH} * kI),
          [&] { backend_.linear(x, weights[0], {}, up); }});
    time({"low_rank r16", 2 * t * kRank * (kH + kI), size() * t * (kH + 2 * kRank + 4 * kI),
          [&] { backend_.low_rank(x, weights[1].values, weights[2].values, 1.0, up); }});
    buffers_.clear();
  }

  /// What a comparison does to a chunk of logits of two lanes, and to hidden states.
  void statistics() {
    RowStatistics* own = backend_.row_statistics();
    if (own == nullptr) {
      return;
    }
    const std::int64_t rows = std::min(rows_, kSweptRows);
    const std::vector<Mat> lanes{filled(rows, kVocabulary), filled(rows, kVocabulary)};
    const std::vector<std::int32_t> next(static_cast<std::size_t>(rows), 7);
    const std::vector<LanePair> pair{{0, 1, -1}};
    std::vector<LaneSweep> swept(2 * next.size());
    std::vector<PairSweep> compared(next.size());
    const double logits = static_cast<double>(rows * kVocabulary);
    const auto sweep = [&](std::span<const LanePair> pairs) {
      own->sweep_logits(
          {.lanes = lanes, .vocabulary = kVocabulary, .pairs = pairs, .next_token = next}, swept,
          std::span(compared).first(pairs.size() * next.size()));
    };
    time({"scan_logits", 60 * logits, 2 * size() * logits, [&] { sweep({}); }});
    time({"  and compare_logits", 140 * logits, 4 * size() * logits, [&] { sweep(pair); }});
    const Mat x = filled(rows_, kH);
    const Mat y = filled(rows_, kH);
    std::vector<RowSquares> squares(static_cast<std::size_t>(rows_));
    const double h = static_cast<double>(rows_ * kH);
    time({"row_squares", 6 * h, 2 * size() * h, [&] { own->squares(x, y, {}, squares); }});
    buffers_.clear();
  }

  /// The audit of a target: base and merged as they are stored, sums back.
  void merges() {
    MergeStatistics* own = backend_.merge_statistics();
    if (own == nullptr) {
      return;
    }
    constexpr std::int64_t kElements = kI * kH;
    const Tensor base = tensor({kI, kH}, 0.02);
    const std::vector<double> left(static_cast<std::size_t>(kI * kRank), 0.01);
    const std::vector<double> right(static_cast<std::size_t>(kH * kRank), 0.01);
    std::vector<MergeChunk> chunks;
    for (std::int64_t at = 0; at < kElements; at += kMergeChunk) {
      chunks.push_back({at, kMergeChunk});
    }
    std::vector<MergeSums> sums(chunks.size());
    std::vector<GroupLook> looks(chunks.size() * kMergeGroups);
    const MergePass pass{.base = base.view(),
                         .merged = base.view(),
                         .left = left,
                         .right = right.data(),
                         .rank = kRank,
                         .cols = kH,
                         .scale = 1.0,
                         .scale_low = 1.0,
                         .scale_high = 1.0};
    time({"merge_statistics r16", (2.0 * kRank + 40) * kElements, 4.0 * kElements,
          [&] { own->sweep(pass, chunks, sums, looks); }});
  }

  /// A matrix that is announced, used for a few rows and released: the link, its bytes in the forms
  /// that checkpoints have, and the kernels that make of them what a product needs.
  void uploads() {
    const Mat x = filled(kUploadedRows, kH);
    const Mat y = filled(kUploadedRows, kI);
    constexpr std::int64_t kElements = kI * kH;
    const double flops = 2.0 * kUploadedRows * kElements;
    const Tensor halves = tensor({kI, kH}, 0.02);
    const std::vector<float> values(static_cast<std::size_t>(kElements), 0.5F);
    const TensorView wide{DType::kF32,
                          {kI, kH},
                          reinterpret_cast<const std::byte*>(values.data()),
                          values.size() * sizeof(float)};
    const auto once = [&](const std::string& name, const Weight& weight, double bytes) {
      const std::vector<Weight> weights{weight};
      time({"once, " + name, flops, bytes, [&] {
              const Announced announced(backend_, weights);
              backend_.linear(x, weights[0], {}, y);
            }});
    };
    once("BF16 weight", {halves.view(), false}, 2.0 * kElements);
    once("FP32 weight", {wide, false}, 4.0 * kElements);
    if (backend_.takes_codes()) {
      // Any bytes are codes, and these FP32 values scales.
      const FourBitMatrix four{.rows = kI,
                               .cols = kH,
                               .codes = halves.view().data,
                               .levels = kNf4Levels.data(),
                               .block = 64,
                               .absmax = wide.data};
      const EightBitMatrix eight{
          .rows = kI, .cols = kH, .codes = halves.view().data, .scale = wide.data};
      once("NF4 codes", {wide, false, {&four, nullptr}}, kElements / 2.0 + kElements / 16.0);
      once("INT8 codes", {wide, false, {nullptr, &eight}}, kElements + 4.0 * kI);
    }
    buffers_.clear();
  }

  Backend& backend_;
  const std::int64_t rows_;
  contract::Random random_{5};
  const std::unique_ptr<Buffer> mark_buffer_ = backend_.allocate(1);
  const Mat mark_ = whole(*mark_buffer_, 1, 1);
  std::vector<std::unique_ptr<Buffer>> buffers_;  // of the part that is being timed
  double copy_rate_ = 0;
};

}  // namespace

void print_timings(Backend& backend, std::int64_t rows) {
  Timings(backend, rows).print();
}

}  // namespace mg
