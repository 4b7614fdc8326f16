// Every metric of every row of logits, for a table outside of the report: report.json keeps sums
// and the worst rows only.  Filled by harness/run on request, written by reports/csv.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mg {

struct TokenRow {
  std::size_t pair = 0;  // index in TokenRows::pairs
  std::string prompt;
  std::int64_t position = 0;                  // of the token, from 0
  std::int32_t token = 0;                     // the id read at this position
  std::int32_t next = -1;                     // the given next id; -1: none counts
  std::int32_t first_reference = -1;          // the most likely next id of each lane
  std::int32_t first_subject = -1;            // -1: not finite
  std::vector<std::optional<double>> values;  // beside TokenRows::metrics
};

struct TokenRows {
  struct Pair {
    std::string reference;
    std::string subject;
  };
  std::vector<Pair> pairs;
  std::vector<std::string> metrics;  // as in the report: "kl", "delta_nll"
  std::vector<TokenRow> rows;
};

}  // namespace mg
