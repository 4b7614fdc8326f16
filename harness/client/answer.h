// What one answer of an OpenAI-compatible server amounts to: its text's times, its counts, or the
// one thing that is wrong with it.  A function of bytes and times alone.
// The streams are those of https://platform.openai.com/docs/api-reference/completions and
// .../chat/streaming as vLLM, SGLang and llama.cpp's server write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/client/http.h"

namespace mg {

/// Exactly one of an answer.  The first two are whole answers, whose times count.
enum class Outcome : std::uint8_t {
  kOk,
  kNoDone,       // whole by its finish_reason, but "[DONE]" never came
  kUnreachable,  // nobody answered
  kInsecure,     // TLS failed
  kTimedOut,
  kNotClosed,  // "[DONE]" came, and the answer never ended
  kCut,        // it ended in the middle
  kTooLarge,
  kBadHttp,      // no HTTP came
  kHttpStatus,   // another status than 200; named "http-500"
  kNotEvents,    // status 200, but no stream of events
  kBadJson,      // an event that is no JSON
  kBadEvent,     // JSON that is no part of a completion
  kServerError,  // an error told within the stream
  kAborted,      // the server gave up: finish_reason "abort" or "error"
  kWrongModel,   // another model answered
  kWrongId,      // events of two answers in one
  kBadUsage,     // token counts that cannot be
  kEmpty,        // whole, but without any text: there is no first token
};

struct Answer {
  Outcome outcome = Outcome::kOk;
  std::string name = "ok";  // of the outcome, for people and reports
  std::string detail;       // what was wrong, an excerpt of what came
  double sent = 0;
  std::vector<double> texts;  // when each event with text came
  std::optional<std::int64_t> prompt_tokens;
  std::optional<std::int64_t> tokens;  // that the server says it wrote
  bool names_model = false;            // the server says who answers

  bool usable() const { return outcome == Outcome::kOk || outcome == Outcome::kNoDone; }
};

/// What the answer must fit.
struct Asked {
  std::string model;
  bool chat = false;
  std::int64_t max_tokens = 0;
};

Answer read_answer(const HttpAnswer& raw, const Asked& asked);

/// What is wrong with an answer before its body matters, or nothing: the connection, the status.
std::optional<Answer> transport_fault(const HttpAnswer& raw);

/// What a server says in the body of an error: its message, else the beginning of the body.
std::string error_text(std::string_view body);

}  // namespace mg
