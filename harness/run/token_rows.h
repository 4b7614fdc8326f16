// The metrics of a run, token by token.
#pragma once

#include "harness/metrics/accumulator.h"
#include "harness/metrics/metric_table.h"
#include "harness/result/token_rows.h"
#include "harness/run/prompts.h"

namespace mg {

/// Every pair of lanes, row by row in the order of the prompts.  `metrics` is complete.
TokenRows collect_token_rows(const MetricAccumulator& metrics, const Prompts& prompts,
                             const MetricContext& context);

}  // namespace mg
