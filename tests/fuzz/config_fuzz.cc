// Any text as config.json: the JSON reader, then the configs of every architecture.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "harness/io/json_file.h"
#include "harness/model/arch.h"
#include "tests/fuzz/expect_input_errors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  mg::expect_input_errors([&] {
    const nlohmann::json json = mg::parse_json(text, "config.json");
    const mg::ArchSpec& arch = mg::find_architecture(json, "config.json");
    const mg::ModelConfig config = arch.read_config(json, "config.json");
    for (const mg::TensorRule& rule : arch.rules) {
      mg::require(mg::element_count(mg::shape_of(rule, config)).has_value());
    }
  });
  return 0;
}
