// What a report says about its inputs and the machine: facts from headers, digests of every file.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "harness/result/report.h"
#include "harness/run/models.h"
#include "kernels/core/parallel.h"

namespace mg {

/// "AMD EPYC, 2 cores": the processor as /proc/cpuinfo names it.
std::string machine_name();

/// "2026-05-01T12:34:56Z"
std::string utc_now();

/// Fills the model's and the adapter's summary.
void describe_inputs(const OpenModel& base, const OpenAdapter& adapter, const OpenModel& merged,
                     InputInfo& inputs);

struct InputFolder {
  std::string role;  // "base", "adapter", "merged", "trained-on", "also:LANE"
  std::filesystem::path path;
};

/// SHA-256 of every regular file directly in the folders (or of the file that stands for one), in
/// their order and by name.
std::vector<FileRecord> digest_inputs(const std::vector<InputFolder>& folders, ThreadPool& pool,
                                      const std::function<void(double)>& progress);

}  // namespace mg
