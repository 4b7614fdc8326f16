// What every rendering of a report.json starts from.
#pragma once

#include <string>

#include "harness/result/report.h"

namespace mg {

/// A report and the identity of the text it was read from, so that each view names its source.
struct ReportView {
  const Report& report;
  std::string digest;  // text_digest() of report.json
};

}  // namespace mg
