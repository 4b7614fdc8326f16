// Any text as adapter_config.json, and what it says of some modules.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "harness/io/adapter_config.h"
#include "harness/io/adapter_match.h"
#include "harness/io/json_file.h"
#include "tests/fuzz/expect_input_errors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  mg::expect_input_errors([&] {
    const mg::AdapterConfig config = mg::parse_adapter_config(
        mg::parse_ordered_json(text, "adapter_config.json"), "adapter_config.json");
    mg::require(config.r > 0);
    const mg::ModuleMatcher matcher(config);
    for (const char* module :
         {"model.layers.0.self_attn.q_proj", "model.layers.1.mlp.experts.3.down_proj", "lm_head",
          "model.embed_tokens", "transformer.h.10.attn.c_attn", ""}) {
      matcher.is_targeted(module);
      mg::require(matcher.rank_and_alpha(module).first > 0);
    }
  });
  return 0;
}
