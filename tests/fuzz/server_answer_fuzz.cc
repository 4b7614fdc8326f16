// What a server sends, read as a stream of events and as one answer with log-probabilities.  The
// first byte says how the rest is cut into arrivals and which endpoint was asked.
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "harness/client/answer.h"
#include "harness/client/logprobs.h"
#include "tests/fuzz/expect_input_errors.h"

namespace {

/// The bytes as they came, `piece` at a time, a second each.
mg::HttpAnswer answer_of(std::string_view body, std::size_t piece) {
  mg::HttpAnswer raw;
  raw.status = 200;
  raw.content_type = "text/event-stream";
  raw.body = body;
  double now = 0;
  for (std::size_t end = piece; end < body.size(); end += piece) {
    raw.arrivals.push_back({now += 1, end});
  }
  raw.arrivals.push_back({now + 1, body.size()});
  raw.ended = now + 1;
  return raw;
}

void check_stream(std::string_view body, std::size_t piece, bool chat) {
  const mg::Asked asked{"m", chat, 16};
  const mg::Answer answer = mg::read_answer(answer_of(body, piece), asked);
  mg::require(!answer.name.empty());
  mg::require(!answer.usable() || !answer.texts.empty());
  for (std::size_t i = 1; i < answer.texts.size(); ++i) {
    mg::require(answer.texts[i - 1] <= answer.texts[i]);
  }
  // How the network cut the answer changes its times, and nothing else.
  const mg::Answer whole = mg::read_answer(answer_of(body, body.size() + 1), asked);
  mg::require(whole.name == answer.name && whole.detail == answer.detail);
  mg::require(whole.texts.size() == answer.texts.size() && whole.tokens == answer.tokens);
}

void check_logprobs(std::string_view body) {
  const mg::LogprobAnswer answer = mg::read_logprobs(answer_of(body, body.size() + 1), {"m", 16});
  mg::require(answer.fault.empty() != answer.positions.empty());
  mg::require(answer.positions.size() <= 16);
  for (const mg::LogprobPosition& position : answer.positions) {
    const double chosen = position.chosen.logprob.value_or(0);
    mg::require(std::isfinite(chosen) && chosen < 1e-4);
    double before = 1;
    for (const mg::TokenLogprob& token : position.top) {
      mg::require(token.logprob.value_or(-1e6) <= before);
      before = token.logprob.value_or(-1e6);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t piece = 1 + data[0] / 2U;
  mg::expect_input_errors([&] {
    check_stream(body, piece, data[0] % 2 == 1);
    check_logprobs(body);
  });
  return 0;
}
