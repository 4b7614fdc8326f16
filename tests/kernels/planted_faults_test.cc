// The conformance suite itself: backends with one fault each, every one of which must be refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/contract/conformance.h"
#include "kernels/core/dequantise.h"
#include "kernels/row_statistics.h"
#include "tests/kernels/faulty_backend.h"
#include "tests/kernels/subjects.h"

namespace mg {
namespace {

/// Whether any case of the operation refuses `subject`.
bool refused(const std::string& operation, Backend& subject, Backend& oracle, Backend& exact) {
  for (const contract::ConformanceCase& c : contract::conformance_cases()) {
    if (c.operation == operation && !c.run({subject, oracle, exact}).failure.empty()) {
      return true;
    }
  }
  return false;
}

class PlantedFaultsTest : public testing::Test {
 protected:
  void use(Arithmetic arithmetic) {
    right_ = make_subject({"cpu", ""}, arithmetic, pool_);
    oracle_ = make_subject({"reference", ""}, arithmetic, pool_);
  }
  void SetUp() override { use(Arithmetic::kExact); }
  template <typename Faulty>
  void expect_refused(const std::string& operation) {
    Faulty faulty(*right_);
    EXPECT_TRUE(refused(operation, faulty, *oracle_, *exact_)) << operation;
  }

  ThreadPool pool_{1};
  std::unique_ptr<Backend> exact_ = make_subject({"reference", ""}, Arithmetic::kExact, pool_);
  std::unique_ptr<Backend> right_;
  std::unique_ptr<Backend> oracle_;
};

/// Adds `change` to one element of x.
void disturb(Backend& backend, const Mat& x, std::int64_t row, std::int64_t col,
             const std::function<float(float)>& change) {
  const Mat one = x.row_range(row, 1).col_range(col, 1);
  std::vector<float> staging;
  const float value = change(backend.read(one, staging)[0]);
  backend.upload({&value, 1}, one);
}

struct LastInputLost : PassingBackend {
  using PassingBackend::PassingBackend;
  void linear(Mat x, const Weight& weight, const TensorView& bias, Mat out) override {
    const std::unique_ptr<Buffer> buffer = right_.allocate(x.rows * x.cols);
    const Mat copy = whole(*buffer, x.rows, x.cols);
    right_.copy(x, copy);
    if (x.cols > 1) {
      right_.fill_zero(copy.col_range(x.cols - 1, 1));
    }
    right_.linear(copy, weight, bias, out);
  }
};
TEST_F(PlantedFaultsTest, AnInputLeftOut) {
  expect_refused<LastInputLost>("linear");
}

struct BiasForgotten : PassingBackend {
  using PassingBackend::PassingBackend;
  void linear(Mat x, const Weight& weight, const TensorView&, Mat out) override {
    right_.linear(x, weight, {}, out);
  }
};
TEST_F(PlantedFaultsTest, BiasForgottenInLinear) {
  expect_refused<BiasForgotten>("linear");
}

struct OneElementOff : PassingBackend {
  using PassingBackend::PassingBackend;
  void linear(Mat x, const Weight& weight, const TensorView& bias, Mat out) override {
    right_.linear(x, weight, bias, out);
    if (out.rows > 30 && out.cols > 30) {
      disturb(right_, out, 29, 13, [](float v) { return v * (1 + 0x1p-12F); });
    }
  }
};
TEST_F(PlantedFaultsTest, OneElementOffByATwoThousandthOfItself) {
  expect_refused<OneElementOff>("linear");
}

struct NanSwallowed : PassingBackend {
  using PassingBackend::PassingBackend;
  void linear(Mat x, const Weight& weight, const TensorView& bias, Mat out) override {
    right_.linear(x, weight, bias, out);
    for (std::int64_t r = 0; r < out.rows; ++r) {
      for (std::int64_t c = 0; c < out.cols; ++c) {
        disturb(right_, out, r, c, [](float v) { return std::isnan(v) ? 0.0F : v; });
      }
    }
  }
};
TEST_F(PlantedFaultsTest, NanTurnedIntoANumber) {
  expect_refused<NanSwallowed>("linear");
}

struct WritesOneColumnMore : PassingBackend {
  using PassingBackend::PassingBackend;
  void add(Mat x, Mat y) override {
    right_.add(x, y);
    if (y.rows > 0 && y.stride > y.cols) {
      right_.fill_zero({y.buffer, y.offset + y.cols, 1, 1, 1});
    }
  }
};
TEST_F(PlantedFaultsTest, AWriteBesideTheOutput) {
  expect_refused<WritesOneColumnMore>("add");
}

struct ChangesItsInput : PassingBackend {
  using PassingBackend::PassingBackend;
  void add(Mat x, Mat y) override {
    right_.add(x, y);
    if (x.rows > 1) {
      right_.fill_zero({x.buffer, x.offset - 1, 1, 1, 1});
    }
  }
};
TEST_F(PlantedFaultsTest, AWriteBeforeAnInput) {
  expect_refused<ChangesItsInput>("add");
}

struct SeesOneKeyMore : PassingBackend {
  using PassingBackend::PassingBackend;
  void attention(Mat q, Mat k, Mat v, std::span<const AttentionSegment> segments,
                 const AttentionParams& params, Mat out) override {
    AttentionParams wrong = params;
    wrong.window += params.window > 0 ? 1 : 0;
    right_.attention(q, k, v, segments, wrong, out);
  }
};
TEST_F(PlantedFaultsTest, AWindowOneTooWide) {
  expect_refused<SeesOneKeyMore>("attention");
}

struct NoScale : PassingBackend {
  using PassingBackend::PassingBackend;
  void attention(Mat q, Mat k, Mat v, std::span<const AttentionSegment> segments,
                 const AttentionParams& params, Mat out) override {
    AttentionParams wrong = params;
    wrong.scale *= 1 + 0x1p-10;
    right_.attention(q, k, v, segments, wrong, out);
  }
};
TEST_F(PlantedFaultsTest, AScaleOffByAThousandth) {
  expect_refused<NoScale>("attention");
}

struct AlwaysCausal : PassingBackend {
  using PassingBackend::PassingBackend;
  void attention(Mat q, Mat k, Mat v, std::span<const AttentionSegment> segments,
                 const AttentionParams& params, Mat out) override {
    AttentionParams wrong = params;
    wrong.causal = true;
    right_.attention(q, k, v, segments, wrong, out);
  }
};
TEST_F(PlantedFaultsTest, VisionAttentionMadeCausal) {
  expect_refused<AlwaysCausal>("attention");
}

struct RopeTheOtherWay : PassingBackend {
  using PassingBackend::PassingBackend;
  void rope(Mat cos, Mat sin, std::int64_t heads, std::int64_t rotary_dim, Mat x) override {
    right_.rope(sin, cos, heads, rotary_dim, x);
  }
};
TEST_F(PlantedFaultsTest, CosAndSinSwapped) {
  expect_refused<RopeTheOtherWay>("rope");
}

struct NoEps : PassingBackend {
  using PassingBackend::PassingBackend;
  void rms_norm(Mat x, const TensorView& weight, double, double weight_offset, std::int64_t groups,
                Mat out) override {
    right_.rms_norm(x, weight, 0.0, weight_offset, groups, out);
  }
  void layer_norm(Mat x, const TensorView& weight, const TensorView& bias, double,
                  Mat out) override {
    right_.layer_norm(x, weight, bias, 0.0, out);
  }
};
TEST_F(PlantedFaultsTest, EpsForgotten) {
  expect_refused<NoEps>("rms_norm");
  expect_refused<NoEps>("layer_norm");
}

struct WrongResidual : PassingBackend {
  using PassingBackend::PassingBackend;
  void add_rms_norm(Mat x, Mat y, const TensorView& weight, double eps, double weight_offset,
                    Mat out) override {
    right_.rms_norm(y, weight, eps, weight_offset, 1, out);
    right_.add(x, y);
  }
  void add_layer_norm(Mat x, Mat y, const TensorView& weight, const TensorView& bias, double eps,
                      Mat out) override {
    right_.add_layer_norm(x, y, weight, bias, eps, out);
    right_.add(x, y);
  }
};
TEST_F(PlantedFaultsTest, NormBeforeTheResidual) {
  expect_refused<WrongResidual>("add_rms_norm");
}
TEST_F(PlantedFaultsTest, ResidualAddedTwice) {
  expect_refused<WrongResidual>("add_layer_norm");
}

struct WholeRowNormalised : PassingBackend {
  using PassingBackend::PassingBackend;
  void layer_norm(Mat x, const TensorView& weight, const TensorView&, double eps,
                  Mat out) override {
    right_.layer_norm(x, weight, {}, eps, out);
  }
};
TEST_F(PlantedFaultsTest, BiasForgottenInLayerNorm) {
  expect_refused<WholeRowNormalised>("layer_norm");
}

struct ScaleForgotten : PassingBackend {
  using PassingBackend::PassingBackend;
  void low_rank(Mat x, const TensorView& a, const TensorView& b, double, Mat y) override {
    right_.low_rank(x, a, b, 1.0, y);
  }
  void embed(const TensorView& table, std::span<const std::int32_t> ids, double, Mat out) override {
    right_.embed(table, ids, 1.0, out);
  }
  void low_rank_embed(std::span<const std::int32_t> ids, const TensorView& a, const TensorView& b,
                      double, Mat y) override {
    right_.low_rank_embed(ids, a, b, 1.0, y);
  }
  void add_vector(const TensorView& vector, double, Mat y) override {
    right_.add_vector(vector, 1.0, y);
  }
};
TEST_F(PlantedFaultsTest, AScaleForgotten) {
  expect_refused<ScaleForgotten>("low_rank");
  expect_refused<ScaleForgotten>("embed");
  expect_refused<ScaleForgotten>("low_rank_embed");
  expect_refused<ScaleForgotten>("add_vector");
}

struct OtherGelu : PassingBackend {
  using PassingBackend::PassingBackend;
  static ActivationKind other(ActivationKind kind) {
    return kind == ActivationKind::kGeluErf ? ActivationKind::kGeluTanh : kind;
  }
  void activation(ActivationKind kind, Mat x) override { right_.activation(other(kind), x); }
  void gated_activation(ActivationKind kind, Mat gate, Mat up, Mat out) override {
    right_.gated_activation(other(kind), gate, up, out);
  }
};
TEST_F(PlantedFaultsTest, TheOtherGelu) {
  expect_refused<OtherGelu>("activation");
  expect_refused<OtherGelu>("gated_activation");
}

struct LastOfATie : PassingBackend {
  using PassingBackend::PassingBackend;
  RoutedExperts route_top_k(Mat logits, std::int64_t k, bool normalise) override {
    RoutedExperts routed = right_.route_top_k(logits, k, normalise);
    for (std::size_t i = 0; i + 1 < routed.expert.size(); ++i) {
      if (routed.weight[i] == routed.weight[i + 1]) {
        std::swap(routed.expert[i], routed.expert[i + 1]);
      }
    }
    return routed;
  }
};
TEST_F(PlantedFaultsTest, ATieBrokenTheOtherWay) {
  expect_refused<LastOfATie>("route_top_k");
}

struct NeverNormalised : PassingBackend {
  using PassingBackend::PassingBackend;
  RoutedExperts route_top_k(Mat logits, std::int64_t k, bool) override {
    return right_.route_top_k(logits, k, false);
  }
};
TEST_F(PlantedFaultsTest, RoutingWeightsNotNormalised) {
  expect_refused<NeverNormalised>("route_top_k");
}

/// Computes in FP32 and rounds only the result: what a backend does that forgets the rounding
/// points inside.
template <Arithmetic kArithmetic>
class RoundsOnlyAtTheEnd : public PassingBackend {
 public:
  explicit RoundsOnlyAtTheEnd(Backend& right)
      : PassingBackend(right), exact_(make_subject({"cpu", ""}, Arithmetic::kExact, pool_)) {}

  void low_rank(Mat x, const TensorView& a, const TensorView& b, double scale, Mat y) override {
    const Exact in(*this, x);
    const Exact out(*this, y);
    exact_->low_rank(in.mat, a, b, scale, out.mat);
    out.back(y);
  }
  void rms_norm(Mat x, const TensorView& weight, double eps, double offset, std::int64_t groups,
                Mat out) override {
    const Exact in(*this, x);
    exact_->rms_norm(in.mat, weight, eps, offset, groups, in.mat);
    in.back(out);
  }
  void rope(Mat cos, Mat sin, std::int64_t heads, std::int64_t rotary_dim, Mat x) override {
    const Exact c(*this, cos);
    const Exact s(*this, sin);
    const Exact out(*this, x);
    exact_->rope(c.mat, s.mat, heads, rotary_dim, out.mat);
    out.back(x);
  }
  void gated_activation(ActivationKind kind, Mat gate, Mat up, Mat out) override {
    const Exact g(*this, gate);
    const Exact u(*this, up);
    exact_->gated_activation(kind, g.mat, u.mat, g.mat);
    g.back(out);
  }
  void softcap(double cap, Mat x) override {
    const Exact out(*this, x);
    exact_->softcap(cap, out.mat);
    out.back(x);
  }

 private:
  /// A copy in the exact backend's memory.
  struct Exact {
    Exact(RoundsOnlyAtTheEnd& owner, const Mat& x)
        : owner_(owner), buffer_(owner.exact_->allocate(x.rows * x.cols)) {
      mat = whole(*buffer_, x.rows, x.cols);
      std::vector<float> staging;
      owner.exact_->upload(owner.right_.read(x, staging), mat);
    }
    void back(const Mat& x) const {
      std::vector<float> staging;
      owner_.right_.upload(owner_.exact_->read(mat, staging), x);
    }
    RoundsOnlyAtTheEnd& owner_;
    std::unique_ptr<Buffer> buffer_;
    Mat mat;
  };
  ThreadPool pool_{1};
  std::unique_ptr<Backend> exact_;
};

TEST_F(PlantedFaultsTest, Fp16RoundedOnlyAtTheEnd) {
  use(Arithmetic::kFp16);
  for (const char* operation : {"low_rank", "rms_norm", "rope", "gated_activation", "softcap"}) {
    expect_refused<RoundsOnlyAtTheEnd<Arithmetic::kFp16>>(operation);
  }
}

TEST_F(PlantedFaultsTest, Bf16RoundedOnlyAtTheEnd) {
  use(Arithmetic::kBf16);
  for (const char* operation : {"low_rank", "rms_norm", "rope", "gated_activation", "softcap"}) {
    expect_refused<RoundsOnlyAtTheEnd<Arithmetic::kBf16>>(operation);
  }
}

struct BiasAddedAfterRounding : PassingBackend {
  using PassingBackend::PassingBackend;
  void linear(Mat x, const Weight& weight, const TensorView& bias, Mat out) override {
    right_.linear(x, weight, {}, out);
    if (!bias.empty()) {
      right_.add_vector(bias, 1.0, out);
    }
  }
};
TEST_F(PlantedFaultsTest, BiasRoundedByItself) {
  use(Arithmetic::kBf16);
  expect_refused<BiasAddedAfterRounding>("linear");
}

/// Decodes by itself, from a description changed by `change`; or reads the values it was told to
/// leave alone.
struct TakesCodes : PassingBackend {
  using Change = std::function<void(FourBitMatrix&, EightBitMatrix&)>;
  TakesCodes(Backend& right, Change change) : PassingBackend(right), change_(std::move(change)) {}
  bool takes_codes() const override { return true; }
  void linear(Mat x, const Weight& weight, const TensorView& bias, Mat out) override {
    if (change_ == nullptr) {
      right_.linear(x, weight, bias, out);
      return;
    }
    FourBitMatrix four =
        weight.codes.four_bit == nullptr ? FourBitMatrix{} : *weight.codes.four_bit;
    EightBitMatrix eight =
        weight.codes.eight_bit == nullptr ? EightBitMatrix{} : *weight.codes.eight_bit;
    change_(four, eight);
    std::vector<float> values(static_cast<std::size_t>(weight.values.elements()));
    if (weight.codes.four_bit != nullptr) {
      dequantise_rows(four, 0, four.rows, values.data());
    } else {
      dequantise_rows(eight, 0, eight.rows, values.data());
    }
    Weight decoded = weight;
    decoded.values.data = reinterpret_cast<const std::byte*>(values.data());
    right_.linear(x, decoded, bias, out);
  }
  Change change_;
};

TEST_F(PlantedFaultsTest, CodesDecodedByTheBackend) {
  const auto is_refused = [&](const TakesCodes::Change& change) {
    TakesCodes subject(*right_, change);
    return refused("dequantise", subject, *oracle_, *exact_);
  };
  EXPECT_FALSE(is_refused([](FourBitMatrix&, EightBitMatrix&) {}));
  EXPECT_TRUE(is_refused(nullptr)) << "reads values that nobody decoded";
  EXPECT_TRUE(is_refused([](FourBitMatrix& four, EightBitMatrix&) { four.blocks_by_row = false; }));
  EXPECT_TRUE(is_refused([](FourBitMatrix& four, EightBitMatrix&) { four.nested_offset = 0; }));
  EXPECT_TRUE(
      is_refused([](FourBitMatrix& four, EightBitMatrix&) { four.levels = kNf4Levels.data(); }));
  EXPECT_TRUE(is_refused([](FourBitMatrix&, EightBitMatrix& eight) { eight.col32 = false; }));
}

/// The oracle's statistics with one number wrong.
class StatisticsFault : public RowStatistics {
 public:
  using Change = std::function<void(std::span<LaneSweep>, std::span<PairSweep>)>;
  StatisticsFault(RowStatistics& right, Change change, bool last_token_lost = false)
      : right_(right), change_(std::move(change)), last_token_lost_(last_token_lost) {}
  bool reaches(const Mat& x) const override { return right_.reaches(x); }
  void sweep_logits(const LogitSweep& sweep, std::span<LaneSweep> lanes,
                    std::span<PairSweep> pairs) override {
    LogitSweep seen = sweep;
    const bool can_lose = std::all_of(
        sweep.next_token.begin(), sweep.next_token.end(),
        [&](std::int32_t next) { return next + 1 < sweep.vocabulary && sweep.vocabulary > 1; });
    seen.vocabulary -= last_token_lost_ && can_lose ? 1 : 0;
    right_.sweep_logits(seen, lanes, pairs);
    change_(lanes, pairs);
  }
  void squares(Mat subject, Mat reference, std::span<const std::int32_t> reference_rows,
               std::span<RowSquares> out) override {
    right_.squares(subject, reference, reference_rows, out);
    if (!out.empty()) {
      std::swap(out.back().reference, out.back().subject);
    }
  }

 private:
  RowStatistics& right_;
  Change change_;
  bool last_token_lost_;
};

struct WithStatistics : PassingBackend {
  WithStatistics(Backend& right, RowStatistics& own) : PassingBackend(right), own_(own) {}
  RowStatistics* row_statistics() override { return &own_; }
  RowStatistics& own_;
};

TEST_F(PlantedFaultsTest, StatisticsOfRows) {
  const auto is_refused = [&](const char* operation, const StatisticsFault::Change& change,
                              bool last_token_lost = false) {
    StatisticsFault statistics(*oracle_->row_statistics(), change, last_token_lost);
    WithStatistics faulty(*oracle_, statistics);
    return refused(operation, faulty, *oracle_, *exact_);
  };
  const auto lane = [](auto change) {
    return [change](std::span<LaneSweep> lanes, std::span<PairSweep>) {
      for (LaneSweep& sweep : lanes) {
        change(sweep);
      }
    };
  };
  const auto pair = [](auto change) {
    return [change](std::span<LaneSweep>, std::span<PairSweep> pairs) {
      for (PairSweep& sweep : pairs) {
        change(sweep);
      }
    };
  };
  EXPECT_FALSE(is_refused("sweep_logits", pair([](PairSweep&) {})));
  EXPECT_TRUE(is_refused("sweep_logits", pair([](PairSweep&) {}), true)) << "the last token lost";
  EXPECT_TRUE(is_refused("squares", pair([](PairSweep&) {}))) << "norms exchanged";
  EXPECT_TRUE(is_refused("sweep_logits", lane([](LaneSweep& x) { x.lse *= 1 + 1e-12; })));
  EXPECT_TRUE(is_refused("sweep_logits", lane([](LaneSweep& x) { x.scan.non_finite /= 2; })));
  EXPECT_TRUE(is_refused("sweep_logits", lane([](LaneSweep& x) {
                           if (x.scan.top_logit[0] == x.scan.top_logit[1]) {  // a tie
                             std::swap(x.scan.top_id[0], x.scan.top_id[1]);
                           }
                         })));
  EXPECT_TRUE(is_refused("sweep_logits", pair([](PairSweep& x) { x.sums.kl *= 1 + 1e-10; })));
  EXPECT_TRUE(is_refused("sweep_logits",
                         pair([](PairSweep& x) { std::swap(x.sums.kl, x.sums.reverse_kl); })));
  EXPECT_TRUE(is_refused("sweep_logits", pair([](PairSweep& x) { x.sums.js += 1e-15; })))
      << "equal rows are not exactly 0 apart";
  EXPECT_TRUE(is_refused("sweep_logits", pair([](PairSweep& x) { x.sums.d_min = -x.sums.d_max; })));
  EXPECT_TRUE(is_refused("sweep_logits", pair([](PairSweep& x) { x.before_first += 1; })));
  EXPECT_TRUE(is_refused("sweep_logits", pair([](PairSweep& x) { x.subject_at_next = 0; })));
}

}  // namespace
}  // namespace mg
