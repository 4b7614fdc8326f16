// Reports as real runs give them, made without running a model: the numbers are drawn from a fixed
// sequence around what SmolLM2-135M measured (tests/smollm2), so that every view has something true
// to life to show.
#pragma once

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "harness/result/report.h"

namespace mg::samples {

struct Size {
  int layers = 30;
  int prompts = 24;
};

/// A right merge: every gate passes, one note.
Report passing(Size size = {});

/// Layer 12 was never merged, and a quantization_config was left behind: gates, audit, drift and
/// lint all say so.
Report dropped_layer(Size size = {});

/// A right merge on eight prompts: the sample is too small to decide.
Report too_few_prompts();

/// The adapter changes nothing on this suite: gates that need its effect are invalid.
Report adapter_does_nothing();

/// The run ended in an input error after lint.
Report input_error();

/// NaN in the merged checkpoint.
Report not_finite();

/// Only `mergegauge lint` ran.
Report lint_only();

/// A right merge whose names and prompts try to break every format.
Report hostile();

/// With throughput.
Report with_bench();
/// A right merge, and a quantised file that was made from the base.
Report served_otherwise();

/// A server, merged faster than the adapter but for three requests that failed.
Report with_server();

/// A selftest of a right merge; one planted fault was missed, one does not apply.
Report selftest_missed();

/// Every sample by its name, made when asked for: each test is a program's run of its own.
struct Sample {
  std::string name;
  std::function<Report()> make;

  friend void PrintTo(const Sample& sample, std::ostream* out) { *out << sample.name; }
};
std::vector<Sample> all();

}  // namespace mg::samples
