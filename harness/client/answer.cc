#include "harness/client/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "harness/client/event_stream.h"

namespace mg {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kExcerpt = 160;

std::string excerpt_of(std::string_view text) {
  return text.size() <= kExcerpt ? std::string(text)
                                 : std::string(text.substr(0, kExcerpt)) + "...";
}

std::string_view outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kOk:
      return "ok";
    case Outcome::kNoDone:
      return "no-done";
    case Outcome::kUnreachable:
      return "unreachable";
    case Outcome::kInsecure:
      return "insecure";
    case Outcome::kTimedOut:
      return "timed-out";
    case Outcome::kNotClosed:
      return "not-closed";
    case Outcome::kCut:
      return "cut";
    case Outcome::kTooLarge:
      return "too-large";
    case Outcome::kBadHttp:
      return "bad-http";
    case Outcome::kHttpStatus:
      return "http";
    case Outcome::kNotEvents:
      return "not-events";
    case Outcome::kBadJson:
      return "bad-json";
    case Outcome::kBadEvent:
      return "bad-event";
    case Outcome::kServerError:
      return "server-error";
    case Outcome::kAborted:
      return "aborted";
    case Outcome::kWrongModel:
      return "wrong-model";
    case Outcome::kWrongId:
      return "wrong-id";
    case Outcome::kBadUsage:
      return "bad-usage";
    case Outcome::kEmpty:
      return "empty";
  }
  return "";
}

void set_outcome(Answer& answer, Outcome outcome, std::string detail) {
  answer.outcome = outcome;
  answer.name = outcome_name(outcome);
  answer.detail = excerpt_of(detail);
}

const Json* member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

/// A value in a message.  Lists and objects are only named: one may be nested without end.
std::string shown(const Json& value) {
  return value.is_structured() ? value.type_name() : value.dump(-1, ' ', /*ensure_ascii=*/true);
}

/// The message of {"error": {"message": ...}}, {"error": "..."} or {"message": ...}.
std::optional<std::string> told_error(const Json& json) {
  if (!json.is_object()) {
    return std::nullopt;
  }
  const Json* error = member(json, "error");
  const Json& holder = error != nullptr && error->is_object() ? *error : json;
  if (const Json* message = member(holder, "message"); message != nullptr && message->is_string()) {
    return message->get<std::string>();
  }
  if (error != nullptr) {
    return error->is_string() ? error->get<std::string>() : shown(*error);
  }
  return std::nullopt;
}

bool says_something(const Json& object, const char* key) {
  const Json* text = member(object, key);
  return text != nullptr && ((text->is_string() && !text->get_ref<const std::string&>().empty()) ||
                             (text->is_array() && !text->empty()));
}

class StreamReader {
 public:
  StreamReader(const Asked& asked, Answer& answer) : asked_(asked), answer_(answer) {}

  void read(const HttpAnswer& raw) {
    std::size_t begin = 0;
    for (const HttpAnswer::Arrival& arrival : raw.arrivals) {
      const auto bytes = std::string_view(raw.body).substr(begin, arrival.end - begin);
      begin = arrival.end;
      events_.feed(bytes, [&](std::string_view data) {
        if (answer_.outcome == Outcome::kOk && !done_) {
          event(data, arrival.at);
        }
      });
    }
    if (answer_.outcome == Outcome::kOk) {
      finish(raw);
    }
  }

 private:
  void fail(Outcome outcome, std::string detail) {
    set_outcome(answer_, outcome, std::move(detail));
  }

  void event(std::string_view data, double at) {
    if (data == "[DONE]") {
      done_ = true;
      return;
    }
    const Json json = Json::parse(data, nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded()) {
      fail(Outcome::kBadJson, std::string(data));
    } else if (json.is_object() && json.contains("error")) {
      fail(Outcome::kServerError, told_error(json).value_or(std::string(data)));
    } else if (const Json* choices = json.is_object() ? member(json, "choices") : nullptr;
               choices == nullptr || !choices->is_array() || choices->size() > 1) {
      fail(Outcome::kBadEvent, std::string(data));
    } else if (origin(json) && usage(json, data) && !choices->empty()) {
      choice(choices->front(), data, at);
    }
  }

  /// Who answers, and which answer this is part of.
  bool origin(const Json& json) {
    if (const Json* model = member(json, "model"); model != nullptr) {
      answer_.names_model = true;
      if (!model->is_string() || model->get_ref<const std::string&>() != asked_.model) {
        fail(Outcome::kWrongModel,
             fmt::format("asked {}, answered by {}", asked_.model, shown(*model)));
        return false;
      }
    }
    if (const Json* id = member(json, "id"); id != nullptr) {
      const std::string name = shown(*id);
      if (!id_.empty() && name != id_) {
        fail(Outcome::kWrongId, fmt::format("events of {} and of {}", id_, name));
        return false;
      }
      id_ = name;
    }
    return true;
  }

  bool usage(const Json& json, std::string_view data) {
    const Json* usage = member(json, "usage");
    if (usage == nullptr) {
      return true;
    }
    const auto count = [&](const char* key, std::optional<std::int64_t>& to) {
      const Json* value = usage->is_object() ? member(*usage, key) : nullptr;
      if (value == nullptr) {
        return usage->is_object();
      }
      constexpr std::uint64_t kMost = std::uint64_t{1} << 40U;
      if (!value->is_number_unsigned() || value->get<std::uint64_t>() > kMost) {
        return false;
      }
      to = value->get<std::int64_t>();
      return true;
    };
    if (!count("prompt_tokens", answer_.prompt_tokens) ||
        !count("completion_tokens", answer_.tokens)) {
      fail(Outcome::kBadUsage, std::string(data));
      return false;
    }
    return true;
  }

  void choice(const Json& choice, std::string_view data, double at) {
    const Json* part =
        choice.is_object() ? member(choice, asked_.chat ? "delta" : "text") : nullptr;
    const bool right = part != nullptr && (asked_.chat ? part->is_object() : part->is_string());
    if (!right) {
      fail(Outcome::kBadEvent, std::string(data));
      return;
    }
    // A model that thinks aloud, or calls a tool, writes tokens too.
    const bool text = asked_.chat ? says_something(*part, "content") ||
                                        says_something(*part, "reasoning_content") ||
                                        says_something(*part, "reasoning") ||
                                        says_something(*part, "tool_calls")
                                  : says_something(choice, "text");
    if (text) {
      answer_.texts.push_back(at);
    }
    if (const Json* reason = member(choice, "finish_reason"); reason != nullptr) {
      finished_ = reason->is_string() ? reason->get<std::string>() : shown(*reason);
      if (finished_ == "abort" || finished_ == "error") {
        fail(Outcome::kAborted, fmt::format("finish_reason \"{}\"", finished_));
      }
    }
  }

  void finish(const HttpAnswer& raw) {
    if (raw.end == HttpEnd::kTimedOut) {
      fail(done_ ? Outcome::kNotClosed : Outcome::kTimedOut, raw.detail);
    } else if (raw.end != HttpEnd::kWhole) {
      fail(Outcome::kCut, raw.detail);
    } else if (!done_ && finished_.empty()) {
      fail(Outcome::kCut, "the stream ended without finish_reason and [DONE]");
    } else if (answer_.tokens && (*answer_.tokens > asked_.max_tokens ||
                                  (*answer_.tokens == 0 && !answer_.texts.empty()))) {
      fail(Outcome::kBadUsage,
           fmt::format("{} tokens counted, {} asked for, {} events with text", *answer_.tokens,
                       asked_.max_tokens, answer_.texts.size()));
    } else if (answer_.texts.empty()) {
      fail(Outcome::kEmpty, "no event with text");
    } else if (!done_) {
      fail(Outcome::kNoDone, "the stream ended without [DONE]");
    }
  }

  const Asked& asked_;
  Answer& answer_;
  EventStream events_;
  bool done_ = false;
  std::string finished_;
  std::string id_;
};

bool is_event_stream(const HttpAnswer& raw) {
  std::string type = raw.content_type.substr(0, raw.content_type.find(';'));
  std::transform(type.begin(), type.end(), type.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return type.starts_with("text/event-stream") || raw.body.starts_with("data:");
}

}  // namespace

std::string error_text(std::string_view body) {
  const Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_discarded()) {
    if (const auto told = told_error(json)) {
      return excerpt_of(*told);
    }
  }
  return excerpt_of(body);
}

std::optional<Answer> transport_fault(const HttpAnswer& raw) {
  Answer answer;
  answer.sent = raw.sent;
  const auto fault = [&](Outcome outcome, const std::string& detail) {
    set_outcome(answer, outcome, detail);
    return answer;
  };
  switch (raw.end) {
    case HttpEnd::kUnreachable:
      return fault(Outcome::kUnreachable, raw.detail);
    case HttpEnd::kInsecure:
      return fault(Outcome::kInsecure, raw.detail);
    case HttpEnd::kTooLarge:
      return fault(Outcome::kTooLarge, fmt::format("more than {} bytes", raw.body.size()));
    case HttpEnd::kMalformed:
      return fault(Outcome::kBadHttp, raw.detail);
    case HttpEnd::kTimedOut:
    case HttpEnd::kCut:
      if (raw.status == 0) {
        return fault(raw.end == HttpEnd::kCut ? Outcome::kCut : Outcome::kTimedOut, raw.detail);
      }
      break;
    case HttpEnd::kWhole:
      break;
  }
  if (raw.status == 200) {
    return std::nullopt;
  }
  fault(Outcome::kHttpStatus, error_text(raw.body));
  answer.name = fmt::format("http-{}", raw.status);
  if (raw.retry_after_s) {
    answer.detail +=
        fmt::format("{}retry after {} s", answer.detail.empty() ? "" : "; ", *raw.retry_after_s);
  }
  return answer;
}

Answer read_answer(const HttpAnswer& raw, const Asked& asked) {
  if (auto fault = transport_fault(raw)) {
    return std::move(*fault);
  }
  Answer answer;
  answer.sent = raw.sent;
  if (!raw.body.empty() && !is_event_stream(raw)) {
    set_outcome(answer, Outcome::kNotEvents,
                fmt::format("{}: {}", raw.content_type.empty() ? "no type" : raw.content_type,
                            error_text(raw.body)));
    return answer;
  }
  StreamReader(asked, answer).read(raw);
  return answer;
}

}  // namespace mg
