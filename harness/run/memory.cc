#include "harness/run/memory.h"

#include <chrono>
#include <fstream>
#include <string>

namespace mg {
namespace {

/// "Name:  123 kB" of /proc/self/status, in bytes; 0 where the kernel does not say.
std::uint64_t status_bytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == name) {
      std::uint64_t kibibytes = 0;
      status >> kibibytes;
      return kibibytes * 1024;
    }
  }
  return 0;
}

}  // namespace

MemoryWatch::MemoryWatch()
    : watcher_([this](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
          const std::uint64_t now = status_bytes("RssAnon:");
          if (now > anonymous_peak_) {
            anonymous_peak_ = now;
          }
          std::this_thread::sleep_for(std::chrono::milliseconds(3));
        }
      }) {}

Memory MemoryWatch::peaks() const {
  return {.anonymous_peak_bytes = anonymous_peak_, .resident_peak_bytes = status_bytes("VmHWM:")};
}

}  // namespace mg
