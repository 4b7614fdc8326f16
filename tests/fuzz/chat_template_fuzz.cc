// Any text as a chat template, rendered with a chat that has every kind of value.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "harness/io/chat_template/chat_template.h"
#include "tests/fuzz/expect_input_errors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const nlohmann::ordered_json kChat = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": "Be terse. "},
                 {"role": "user", "content": "1 + 1 = \u00e9\u4e2d?"},
                 {"role": "assistant", "content": null, "tool_calls": [
                   {"id": "a", "function": {"name": "add", "arguments": {"x": 1, "y": 2.5}}}]},
                 {"role": "tool", "content": "{\"sum\": 3.5}"}],
    "tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}],
    "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"})");
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  mg::expect_input_errors([&] {
    const mg::ChatTemplate parsed = mg::ChatTemplate::parse(source, "chat_template.jinja");
    const mg::RenderedChat chat = parsed.render(kChat, mg::ChatTime{2024, 7, 26});
    for (const mg::TextRange& range : chat.generated) {
      mg::require(range.begin <= range.end && range.end <= chat.text.size());
    }
  });
  return 0;
}
