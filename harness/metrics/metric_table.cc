#include "harness/metrics/metric_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "kernels/core/error.h"

namespace mg {
namespace {

// A metric that is a field of the row.
template <double PairRow::*kField>
double field(const PairRow& row, const MetricContext& /*context*/) {
  return row.*kField;
}

double agreement(const PairRow& row, const MetricContext& /*context*/) {
  return row.agree ? 1.0 : 0.0;
}

double real_flip(const PairRow& row, const MetricContext& context) {
  return is_real_flip(row, context.flip_margin) ? 1.0 : 0.0;
}

constexpr auto kScored = Population::kScoredRows;
constexpr auto kAll = Population::kAllRows;

// clang-format off
constexpr std::array kMetrics{
    MetricDef{"kl", "KL divergence", "nat",
              "information lost per token when the subject stands in for the reference",
              0.0, Worse::kHigher, Sign::kNonNegative, kAll, false, field<&PairRow::kl>},
    MetricDef{"reverse_kl", "reverse KL divergence", "nat",
              "the same with the two lanes exchanged: sensitive to what the subject adds",
              0.0, Worse::kHigher, Sign::kNonNegative, kAll, false, field<&PairRow::reverse_kl>},
    MetricDef{"js", "Jensen-Shannon divergence", "nat",
              "symmetric and at most ln 2",
              0.0, Worse::kHigher, Sign::kNonNegative, kAll, false, field<&PairRow::js>},
    MetricDef{"tv", "total variation", "share",
              "probability that a token sampled from one lane would not be accepted by the other",
              0.0, Worse::kHigher, Sign::kNonNegative, kAll, false, field<&PairRow::tv>},
    MetricDef{"max_abs", "largest logit difference", "logit",
              "largest difference of one logit in a row",
              0.0, Worse::kHigher, Sign::kNonNegative, kAll, false, field<&PairRow::max_abs>},
    MetricDef{"rms", "RMS logit difference", "logit",
              "root mean square of the differences of a row's logits",
              0.0, Worse::kHigher, Sign::kNonNegative, kAll, false, field<&PairRow::rms>},
    MetricDef{"max_abs_centred", "largest centred logit difference", "logit",
              "the same after removing the row's common shift, which changes no probability",
              0.0, Worse::kHigher, Sign::kNonNegative, kAll, false, field<&PairRow::max_abs_centred>},
    MetricDef{"rms_centred", "RMS centred logit difference", "logit",
              "the same after removing the row's common shift, which changes no probability",
              0.0, Worse::kHigher, Sign::kNonNegative, kAll, false, field<&PairRow::rms_centred>},
    MetricDef{"cosine", "cosine of logits", "",
              "cosine of the angle between the two rows of logits",
              1.0, Worse::kLower, Sign::kSigned, kAll, false, field<&PairRow::cosine>},
    MetricDef{"top1_agreement", "same first token", "share",
              "rows where both lanes find the same token most likely",
              1.0, Worse::kLower, Sign::kShare, kAll, false, agreement},
    MetricDef{"real_flips", "real flips", "share",
              "rows whose first token changed by more than the arithmetic's own noise",
              0.0, Worse::kHigher, Sign::kShare, kAll, false, real_flip},
    MetricDef{"top5_overlap", "shared top 5", "share",
              "share of the five most likely tokens that both lanes name",
              1.0, Worse::kLower, Sign::kShare, kAll, false, field<&PairRow::top5_overlap>},
    MetricDef{"top10_overlap", "shared top 10", "share",
              "share of the ten most likely tokens that both lanes name",
              1.0, Worse::kLower, Sign::kShare, kAll, false, field<&PairRow::top10_overlap>},
    MetricDef{"rank", "rank of the reference's token", "",
              "place of the reference's first token in the subject; 1 is first",
              1.0, Worse::kHigher, Sign::kNonNegative, kAll, false, field<&PairRow::rank>},
    MetricDef{"delta_nll", "change of negative log-likelihood", "nat/token",
              "of the given next token, subject minus reference; positive: the subject finds it less likely",
              0.0, Worse::kAway, Sign::kSigned, kScored, false, field<&PairRow::delta_nll>},
    MetricDef{"delta_p", "change of probability", "share",
              "of the given next token, subject minus reference",
              0.0, Worse::kAway, Sign::kSigned, kScored, false, field<&PairRow::delta_p>},
    MetricDef{"nll_reference", "negative log-likelihood, reference", "nat/token",
              "of the given next token in the reference lane",
              std::nullopt, Worse::kHigher, Sign::kNonNegative, kScored, false, field<&PairRow::nll_reference>},
    MetricDef{"nll_subject", "negative log-likelihood, subject", "nat/token",
              "of the given next token in the subject lane",
              std::nullopt, Worse::kHigher, Sign::kNonNegative, kScored, false, field<&PairRow::nll_subject>},
    MetricDef{"kl_base", "KL divergence of reference and base", "nat",
              "what the adapter does at all: the yardstick of the merge error ratio",
              std::nullopt, Worse::kHigher, Sign::kNonNegative, kAll, true, field<&PairRow::kl_base>},
    MetricDef{"kl_base_subject", "KL divergence of base and subject", "nat",
              "how far the subject is from the base: 0 where nothing was merged",
              std::nullopt, Worse::kLower, Sign::kNonNegative, kAll, true, field<&PairRow::kl_base_subject>},
};
// clang-format on

}  // namespace

std::span<const MetricDef> metric_table() {
  return kMetrics;
}

const MetricDef& metric_by_name(std::string_view name) {
  const auto found = std::find_if(kMetrics.begin(), kMetrics.end(),
                                  [name](const MetricDef& metric) { return metric.name == name; });
  MG_CHECK(found != kMetrics.end(), "a metric of the table: " + std::string(name));
  return *found;
}

bool metric_applies(const MetricDef& metric, const PairRow& row) {
  return row.finite && (!metric.needs_base || row.base_finite) &&
         (metric.population == Population::kAllRows || !std::isnan(row.delta_nll));
}

double badness(const MetricDef& metric, double value) {
  const double neutral = metric.neutral.value_or(0.0);
  switch (metric.worse) {
    case Worse::kHigher:
      return value - neutral;
    case Worse::kLower:
      return neutral - value;
    case Worse::kAway:
      return std::abs(value - neutral);
  }
  return 0.0;
}

bool is_real_flip(const PairRow& row, double flip_margin) {
  return !row.agree &&
         !(row.flip_gap_reference <= flip_margin && row.flip_gap_subject <= flip_margin);
}

}  // namespace mg
