// A run that fills a report phase by phase: times, progress, peak memory, the error that ends it,
// the status at the end.  Not for: what the phases do (check.cc, generate.cc).
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "harness/result/report.h"
#include "harness/run/check.h"
#include "harness/run/memory.h"
#include "kernels/core/error.h"

namespace mg {

class ReportRun {
 public:
  /// Both must outlive it.  Memory is watched from here on.
  ReportRun(Report& report, const CheckProgress& progress) : report_(report), progress_(progress) {}

  /// Runs `phases` and fills timing, status and memory.  Throws no mg::Error: what `phases` throws
  /// is in the report.
  void run(const std::function<void()>& phases);

  /// One phase, its time in the report.  Throws what `body` throws; its time is not kept then.
  void phase(const std::string& name, const std::function<void()>& body);

 private:
  using Clock = std::chrono::steady_clock;

  Report& report_;
  const CheckProgress& progress_;
  MemoryWatch memory_;
};

}  // namespace mg
