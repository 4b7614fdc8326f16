#include "harness/run/report_run.h"

#include "harness/run/describe.h"
#include "harness/verdict/judge.h"

namespace mg {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

void ReportRun::run(const std::function<void()>& phases) {
  const auto begin = Clock::now();
  report_.timing.emplace();
  report_.timing->started = utc_now();
  bool internal = false;
  try {
    phases();
  } catch (const Error& error) {
    const ErrorParts& parts = error.parts();
    report_.error = {.code = parts.code,
                     .what = parts.what,
                     .where = parts.where,
                     .expected = parts.expected,
                     .actual = parts.actual,
                     .hint = parts.hint};
    internal = error.kind() == ErrorKind::kInternal;
  }
  report_.status = decide_status({.findings = report_.findings,
                                  .verdicts = report_.verdicts,
                                  .input_error = report_.error.has_value() && !internal,
                                  .internal_error = report_.error.has_value() && internal,
                                  .not_checked = !report_.not_checked.empty()});
  report_.timing->wall_s = seconds_since(begin);
  report_.memory = memory_.peaks();
}

void ReportRun::phase(const std::string& name, const std::function<void()>& body) {
  const auto begin = Clock::now();
  progress_(name, 0.0);
  body();
  report_.timing->phases.push_back({name, seconds_since(begin)});
}

}  // namespace mg
