// A chat template: messages to the text a model was trained on.  Jinja as transformers sets it up
// (jinja_interpreter.h), run in a sandbox.  Not for: token ids (prompt_tokenizer.h). Tested in
// tests/chat_template; tests/chat_template/reference compares with jinja2 itself.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/tokenizer/regex.h"

namespace mg {

/// "2024-07-26" or "2024-07-26T12:30:00" (or with a space): what strftime_now shows.
struct ChatTime {
  int year;
  int month;
  int day;
  int hour = 0;
  int minute = 0;
  int second = 0;

  /// Throws Error "chat_template.bad-time".
  static ChatTime parse(std::string_view text);
};

struct RenderedChat {
  std::string text;
  /// What {% generation %} blocks wrote, where the template has them.
  std::vector<TextRange> generated;
};

class ChatTemplate {
 public:
  /// Throws Error "chat_template.syntax", "chat_template.unsupported", with `name` and the line.
  static ChatTemplate parse(std::string_view source, std::string_view name);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// Renders with `variables` (an object: "messages", "tools", "add_generation_prompt", ...).  As
  /// transformers does, tools and documents are none and add_generation_prompt is false where they
  /// are missing. Without `now`, a template that asks for the time is an error. Throws Error
  /// "chat_template.*" with the template's line; "chat_template.raised" for its own
  /// raise_exception.
  RenderedChat render(const nlohmann::ordered_json& variables, std::optional<ChatTime> now) const;

  const std::string& source() const;
  const std::string& name() const;

 private:
  struct State;
  explicit ChatTemplate(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mg
