// config.json of any content: a config is read or refused with an error, never more.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "harness/model/resolve.h"
#include "kernels/core/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const nlohmann::json json = nlohmann::json::parse(data, data + size, nullptr, false);
  if (json.is_discarded()) {
    return 0;
  }
  try {
    const mg::ArchSpec& arch = mg::find_architecture(json, "config.json");
    const mg::ModelConfig config = arch.read_config(json, "config.json");
    // The list may be long, not wrong: every shape of it has been evaluated.
    if (config.num_hidden_layers * (config.num_experts + 1) < 2000) {
      const std::vector<mg::ResolvedTensor> tensors = mg::expected_tensors(arch, config);
      if (tensors.empty()) {
        std::abort();
      }
    }
  } catch (const mg::Error& error) {
    if (error.kind() == mg::ErrorKind::kInternal) {
      std::abort();
    }
  }
  return 0;
}
