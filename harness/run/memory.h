// How much memory the process used: anonymous pages are ours, mapped files are the page cache's.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "harness/result/report.h"

namespace mg {

/// Watches the anonymous memory of this process (which has no peak of its own in
/// the kernel) from construction on, a few hundred times a second.
class MemoryWatch {
 public:
  MemoryWatch();
  /// Peaks so far; resident is the kernel's own peak (VmHWM) and counts mapped files.
  Memory peaks() const;

 private:
  std::atomic<std::uint64_t> anonymous_peak_{0};
  std::jthread watcher_;  // last: stops before what it writes to goes away
};

}  // namespace mg
