// Words for the names of a report: what a metric or gate is called, in which unit, and what it
// means in a sentence. Names that are not listed are shown as they are: reports of later versions
// can be read.
#pragma once

#include <string>
#include <string_view>

#include "harness/result/generation.h"

namespace mg {

struct MetricLabel {
  std::string title;
  std::string unit;         // "nat", "nat/token", "share", "logit" or empty
  std::string explanation;  // one sentence without a full stop; may be empty
};

MetricLabel metric_label(std::string_view metric);

/// "reference = adapter" -> "base + adapter", "merged" -> "merged", "remerge" -> "our own
/// re-merge".
std::string lane_label(std::string_view lane);

/// "reached their end", "were cut at the length", ...: how texts stopped.
std::string_view stop_words(StopReason reason);

/// Where two texts part, in a sentence: tokens, gaps, whether it was a near tie.
std::string departure_text(const GeneratedPrompt& prompt, const Departure& departure);

/// "fp16" -> "FP16 arithmetic".
std::string arithmetic_label(std::string_view arithmetic);

}  // namespace mg
