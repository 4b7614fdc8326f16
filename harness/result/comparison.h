// Two lanes over the same prompts: the reference and the subject.  Filled by harness/metrics and
// harness/run, written by reports/.  Every mean is pooled over rows; every interval is clustered by
// prompt.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/result/metric.h"

namespace mg {

struct Ratios {
  Ratio mer;               // KL(reference || subject) / KL(reference || base)
  Ratio slope;             // c_z: how much of the adapter's effect on the logits is in the subject
  Ratio r2;                // how much of the subject's change is the adapter's
  Ratio perplexity_ratio;  // exp(mean delta NLL)
};

/// Rows whose most likely token changed.  near_tie + real is all of them; towards_base + away is
/// `real`.
struct Flips {
  std::int64_t near_tie = 0;  // both lanes hold the two candidates within `margin`
  std::int64_t real = 0;
  std::int64_t towards_base = 0;  // real, and the subject now agrees with the base
  std::int64_t away = 0;          // real, and it agrees with neither
  std::optional<double> margin;   // logit gap below which a flip is a near tie
};

struct Slice {
  std::string name;  // "special-tokens", a tag or a span of the suite
  std::int64_t tokens = 0;
  std::vector<NamedMetric> metrics;
};

/// Rows with from <= position < to.
struct PositionBucket {
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::vector<NamedMetric> metrics;
};

/// Rows with from <= largest probability of the reference < to (the last bucket includes 1).
struct ConfidenceBucket {
  double from = 0.0;
  double to = 0.0;
  std::vector<NamedMetric> metrics;
};

/// Rows with from <= value < to; the last bin has no upper end.
struct HistogramBin {
  double from = 0.0;
  double to = 0.0;  // of the last bin: the largest double
  std::int64_t rows = 0;
};

struct PromptDetail {
  std::string id;
  std::int64_t tokens = 0;
  std::optional<double> kl_mean;
  std::optional<double> kl_max;
  std::optional<double> delta_nll_mean;
  std::int64_t flips = 0;
  std::int64_t non_finite = 0;
};

/// A layer's place: which stack of the model ("language", "vision"), its index and the part of it.
struct LayerPlace {
  std::string stack;
  std::int64_t layer = 0;
  std::string module;
};

/// |h_subject - h_reference| / |h_reference| after this part; forced: the subject fed the
/// reference's input.
struct LayerDrift {
  LayerPlace place;
  std::optional<double> free_rel;
  std::optional<double> forced_rel;
  std::int64_t non_finite = 0;
};

struct TopToken {
  std::int64_t id = 0;
  std::string text;  // empty where no tokenizer is known
  double probability = 0.0;
};

struct LaneTop {
  std::string lane;
  std::vector<TopToken> tokens;  // most likely first
};

/// One row worth looking at, with what a reviewer needs to judge it.
struct Evidence {
  std::string prompt;
  std::int64_t position = 0;
  std::string why;                        // "largest KL", "flip towards base", "not finite"
  std::string context;                    // the text before, empty without a tokenizer
  std::optional<std::int64_t> target_id;  // the given next token
  std::string target;
  std::vector<LaneTop> top;
  std::optional<double> kl;
  std::optional<double> delta_nll;
  std::optional<double> margin;  // reference's logit gap between its choice and the subject's
                                 // (flips), else to its second
  std::optional<LayerPlace> first_layer;
};

/// Where a value that is no number appeared.
struct NonFiniteLane {
  std::string lane;
  std::int64_t rows = 0;      // rows with at least one
  std::int64_t elements = 0;  // logits that are NaN or infinite
  std::optional<Place> first;
};

struct Comparison {
  std::string reference;   // lane names: "adapter"
  std::string subject;     // "merged"
  std::string arithmetic;  // "exact", "fp16", "bf16"
  std::int64_t prompts = 0;
  std::int64_t tokens = 0;         // rows of logits
  std::int64_t scored_tokens = 0;  // rows with a next token
  std::vector<NamedMetric> metrics;
  Ratios ratios;
  Flips flips;
  std::vector<NonFiniteLane> non_finite;
  std::vector<HistogramBin> kl_histogram;
  std::vector<Slice> slices;
  std::vector<PositionBucket> positions;
  std::vector<ConfidenceBucket> confidence;
  std::vector<PromptDetail> prompts_detail;
  std::vector<LayerDrift> layers;
  std::optional<LayerPlace> culprit;  // first part whose forced drift leaves the arithmetic's noise
  std::vector<Evidence> evidence;
  std::int64_t bootstrap_replicates = 0;
  std::uint64_t bootstrap_seed = 0;
};

/// The metric of this name, or null.
const MetricSummary* find_metric(const std::vector<NamedMetric>& metrics, std::string_view name);

}  // namespace mg
