// The numbers of a report as one table for a spreadsheet or a data frame: a row for each metric of
// each group of rows.  Tested in tests/reports/views_test.cc.
#pragma once

#include <string>

#include "harness/result/token_rows.h"
#include "reports/view.h"

namespace mg {

/// RFC 4180, with a header.  Columns: reference, subject, group ("all", "slice", "position",
/// "confidence", "prompt"), name, metric, mean, ci95_lower, ci95_upper, p50, p95, p99, max, count,
/// non_finite.  Numbers with every digit, absent ones empty; names that a spreadsheet would take
/// for a formula have a ' before them.
std::string render_csv(const ReportView& view);

/// The same form for single tokens.  Columns: reference, subject, prompt, position, token,
/// next_token, first_reference, first_subject (ids), then every metric by its name.
std::string render_token_csv(const TokenRows& table);

}  // namespace mg
