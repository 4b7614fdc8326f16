#include "harness/run/memory.h"

#include <unistd.h>

#include <chrono>
#include <cinttypes>
#include <cstdio>
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

/// Resident pages that are no file's, from /proc/self/statm: some microseconds, where formatting
/// all of /proc/self/status takes ten times as long, three hundred times a second.
std::uint64_t anonymous_bytes() {
  std::FILE* statm = std::fopen("/proc/self/statm", "re");
  if (statm == nullptr) {
    return 0;
  }
  std::uint64_t resident = 0;
  std::uint64_t of_files = 0;
  const int fields = std::fscanf(statm, "%*u %" SCNu64 " %" SCNu64, &resident, &of_files);
  std::fclose(statm);
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return fields == 2 && resident > of_files ? (resident - of_files) * page : 0;
}

}  // namespace

MemoryWatch::MemoryWatch()
    : watcher_([this](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
          const std::uint64_t now = anonymous_bytes();
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
