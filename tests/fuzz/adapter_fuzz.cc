// Any bytes as an adapter's two files: adapter_config.json, a NUL byte, adapter_model.safetensors.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "harness/io/adapter_config.h"
#include "harness/io/adapter_parts.h"
#include "harness/io/json_file.h"
#include "tests/fuzz/expect_input_errors.h"

namespace {

// A file in memory: the reader maps files, and a fuzz run should not wear out a disk.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : fd_(::memfd_create("fuzz", 0)) {
    mg::require(fd_ >= 0 &&
                ::write(fd_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const std::size_t nul = std::min(all.find('\0'), size);
  mg::expect_input_errors([&] {
    const mg::AdapterConfig config = mg::parse_adapter_config(
        mg::parse_ordered_json(all.substr(0, nul), "adapter_config.json"), "adapter_config.json");
    const MemoryFile weights(all.substr(std::min(nul + 1, size)));
    const mg::SafetensorsFile file = mg::SafetensorsFile::open(weights.path());
    const mg::AdapterParts parts = mg::collect_parts(config, file);
    for (const mg::AdapterModule& module : parts.modules) {
      mg::require(!module.module.empty() && module.rank > 0 && !module.a.empty() &&
                  !module.b.empty());
      mg::require(module.a.dim(0) == module.b.dim(1));
    }
    for (const mg::AdapterReplacement& replacement : parts.replacements) {
      mg::require(!replacement.name.empty() && !replacement.value.empty());
    }
  });
  return 0;
}
