#include "reports/labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "reports/format.h"
#include "reports/text.h"

namespace mg {
namespace {

struct MetricRow {
  std::string_view name;
  std::string_view title;
  std::string_view unit;
  std::string_view explanation;
};

constexpr std::array kMetrics{
    MetricRow{"kl", "KL divergence", "nat",
              "information lost per token when the subject stands in for the reference"},
    MetricRow{"reverse_kl", "reverse KL divergence", "nat",
              "the same with the two lanes exchanged: sensitive to what the subject adds"},
    MetricRow{"js", "Jensen-Shannon divergence", "nat", "symmetric and at most ln 2"},
    MetricRow{"tv", "total variation", "share",
              "probability that a token sampled from one lane would not be accepted by the other"},
    MetricRow{"max_abs", "largest logit difference", "logit",
              "largest difference of one logit in a row"},
    MetricRow{"rms", "RMS logit difference", "logit",
              "root mean square of the differences of a row's logits"},
    MetricRow{"max_abs_centred", "largest centred logit difference", "logit",
              "the same after removing the row's common shift, which changes no probability"},
    MetricRow{"rms_centred", "RMS centred logit difference", "logit",
              "the same after removing the row's common shift, which changes no probability"},
    MetricRow{"cosine", "cosine of logits", "",
              "cosine of the angle between the two rows of logits"},
    MetricRow{"top1_agreement", "same first token", "share",
              "rows where both lanes find the same token most likely"},
    MetricRow{"real_flips", "real flips", "share",
              "rows whose first token changed by more than the arithmetic's own noise"},
    MetricRow{"top5_overlap", "shared top 5", "share",
              "share of the five most likely tokens that both lanes name"},
    MetricRow{"top10_overlap", "shared top 10", "share",
              "share of the ten most likely tokens that both lanes name"},
    MetricRow{"rank", "rank of the reference's token", "",
              "place of the reference's first token in the subject; 1 is first"},
    MetricRow{"delta_nll", "change of negative log-likelihood", "nat/token",
              "of the given next token, subject minus reference; positive: the subject finds it "
              "less likely"},
    MetricRow{"delta_p", "change of probability", "share",
              "of the given next token, subject minus reference"},
    MetricRow{"nll_reference", "negative log-likelihood, reference", "nat/token",
              "of the given next token in the reference lane"},
    MetricRow{"nll_subject", "negative log-likelihood, subject", "nat/token",
              "of the given next token in the subject lane"},
    MetricRow{"kl_base", "KL divergence of reference and base", "nat",
              "what the adapter does at all: the yardstick of the merge error ratio"},
    MetricRow{"kl_base_subject", "KL divergence of base and subject", "nat",
              "how far the subject is from the base: 0 where nothing was merged"},
};

std::string upper_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return text;
}

}  // namespace

MetricLabel metric_label(std::string_view metric) {
  const auto found = std::find_if(kMetrics.begin(), kMetrics.end(),
                                  [metric](const MetricRow& row) { return row.name == metric; });
  if (found == kMetrics.end()) {
    return {std::string(metric), "", ""};
  }
  return {std::string(found->title), std::string(found->unit), std::string(found->explanation)};
}

std::string lane_label(std::string_view lane) {
  constexpr std::string_view kRemerge = "remerge";
  if (lane == "adapter") {
    return "base + adapter";
  }
  if (lane == "trained") {
    return "adapter on the base it was trained on";
  }
  if (lane == "given") {
    return "adapter on --base";
  }
  if (lane == kRemerge) {
    return "our own re-merge";
  }
  if (lane.starts_with("remerge-")) {
    return "our own re-merge in " + upper_case(std::string(lane.substr(kRemerge.size() + 1)));
  }
  return std::string(lane);
}

std::string_view stop_words(StopReason reason) {
  switch (reason) {
    case StopReason::kEndOfText:
      return "reached their end";
    case StopReason::kLength:
      return "cut at the length";
    case StopReason::kContext:
      return "cut by a full context";
    case StopReason::kNotFinite:
      return "broken off by a NaN";
  }
  return "";
}

std::string departure_text(const GeneratedPrompt& prompt, const Departure& departure) {
  const auto token = [](const std::string& text, std::int64_t id) {
    return text.empty() ? fmt::format("token {}", id) : fmt::format("\"{}\"", printable(text));
  };
  std::string text = fmt::format("{}: {} and {} part after {}: {} and {}", printable(prompt.prompt),
                                 lane_label(departure.reference), lane_label(departure.subject),
                                 format_plural(departure.position, "token"),
                                 token(departure.reference_token, departure.reference_id),
                                 token(departure.subject_token, departure.subject_id));
  if (departure.reference_gap && departure.subject_gap) {
    text += fmt::format(", {} and {} logits apart", format_number(*departure.reference_gap),
                        format_number(*departure.subject_gap));
  }
  if (departure.near_tie) {
    text += *departure.near_tie ? ": a near tie" : ": no near tie";
  }
  return text;
}

std::string arithmetic_label(std::string_view arithmetic) {
  return arithmetic == "exact" ? "exact arithmetic"
                               : upper_case(std::string(arithmetic)) + " arithmetic";
}

}  // namespace mg
