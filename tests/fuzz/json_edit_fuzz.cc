// A path (first line, keys separated by dots) and any text after it: setting and deleting that key
// either ends in an Error about the input or changes that key alone (edit_json checks it).
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "harness/lint/json_edit.h"
#include "tests/fuzz/expect_input_errors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t line = input.find('\n');
  if (line == std::string_view::npos) {
    return 0;
  }
  // Paths come from rules and parsed files, so they are UTF-8; ASCII stands for it here.
  for (const char c : input.substr(0, line)) {
    if (static_cast<unsigned char>(c) >= 0x80) {
      return 0;
    }
  }
  std::vector<std::string> path(1);
  for (const char c : input.substr(0, line)) {
    if (c == '.') {
      path.emplace_back();
    } else {
      path.back() += c;
    }
  }
  const std::string_view text = input.substr(line + 1);
  for (const bool erase : {false, true}) {
    mg::expect_input_errors([&] {
      const std::optional<nlohmann::json> value =
          erase ? std::nullopt : std::optional<nlohmann::json>(7);
      const std::string once = mg::lint::edit_json(text, path, value, "config.json");
      mg::require(mg::lint::edit_json(once, path, value, "config.json") == once);
    });
  }
  return 0;
}
