#include "harness/io/chat_template/chat_template.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "harness/io/chat_template/jinja_interpreter.h"
#include "harness/io/chat_template/jinja_json.h"
#include "harness/io/chat_template/jinja_parser.h"
#include "kernels/core/error.h"

namespace mg {

struct ChatTemplate::State {
  std::string source;
  jinja::Template parsed;
};

ChatTemplate::ChatTemplate(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

ChatTemplate ChatTemplate::parse(std::string_view source, std::string_view name) {
  return ChatTemplate(
      std::make_unique<State>(State{std::string(source), jinja::parse(source, name)}));
}

const std::string& ChatTemplate::source() const {
  return state_->source;
}
const std::string& ChatTemplate::name() const {
  return state_->parsed.name;
}

RenderedChat ChatTemplate::render(const nlohmann::ordered_json& variables,
                                  std::optional<ChatTime> now) const {
  if (!variables.is_object()) {
    throw Error({.code = "chat_template.bad-input",
                 .what = "a chat is an object with \"messages\"",
                 .where = {},
                 .expected = "an object",
                 .actual = std::string(variables.type_name()),
                 .hint = {}});
  }
  std::optional<jinja::CalendarTime> time;
  if (now) {
    time = {now->year, now->month, now->day, now->hour, now->minute, now->second};
  }
  jinja::Interpreter interpreter(state_->parsed, jinja::Limits{}, time);
  jinja::Heap& heap = interpreter.heap();
  jinja::Dict context;
  context.set(heap.text("tools"), jinja::None{});
  context.set(heap.text("documents"), jinja::None{});
  context.set(heap.text("add_generation_prompt"), false);
  for (const auto& [key, value] : variables.items()) {
    context.set(heap.text(key), jinja::from_json(heap, value));
  }
  RenderedChat out;
  out.text = interpreter.render(context);
  for (const auto& span : interpreter.generated()) {
    out.generated.push_back({span.begin, span.end});
  }
  return out;
}

ChatTime ChatTime::parse(std::string_view text) {
  const auto bad = [text] {
    return Error({.code = "chat_template.bad-time",
                  .what = "a time cannot be read",
                  .where = {},
                  .expected = "2024-07-26 or 2024-07-26T12:30:00",
                  .actual = std::string(text),
                  .hint = {}});
  };
  std::size_t at = 0;
  const auto number = [&](std::size_t digits, int low, int high, std::string_view before) {
    if (!before.empty()) {
      if (at >= text.size() || before.find(text[at]) == std::string_view::npos) {
        throw bad();
      }
      ++at;
    }
    int value = 0;
    const char* first = text.data() + at;
    if (at + digits > text.size() ||
        std::from_chars(first, first + digits, value).ptr != first + digits || value < low ||
        value > high) {
      throw bad();
    }
    at += digits;
    return value;
  };
  ChatTime time{};
  time.year = number(4, 1, 9999, "");
  time.month = number(2, 1, 12, "-");
  static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = time.year % 4 == 0 && (time.year % 100 != 0 || time.year % 400 == 0);
  time.day = number(2, 1, kDays[time.month - 1] + (leap && time.month == 2 ? 1 : 0), "-");
  if (at < text.size()) {
    time.hour = number(2, 0, 23, "T ");
    time.minute = number(2, 0, 59, ":");
    if (at < text.size()) {
      time.second = number(2, 0, 59, ":");
    }
  }
  if (at != text.size()) {
    throw bad();
  }
  return time;
}

}  // namespace mg
