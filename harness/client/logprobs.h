// The log-probabilities that a server gives for the tokens it writes: how they are asked for, and
// what an answer says.  Not for: which token ids are meant (token_ids.h), comparing them
// (compare_logprobs.h), asking our own engine (harness/run/token_logprobs.h).
//
// Two forms are read, wherever they come from:
//   "tokens", "token_logprobs", "top_logprobs": the completions API
//     (https://platform.openai.com/docs/api-reference/completions/object) of vLLM and SGLang;
//   "content": [{"token", "logprob", "top_logprobs"}]: the chat API
//     (https://platform.openai.com/docs/api-reference/chat/object), and llama.cpp's server for
//     completions too (tools/server/README.md).
// A token is an id where the server says so: "token_id:17" (vLLM's return_tokens_as_token_ids), or
// "id": 17 beside it (llama.cpp).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/client/http.h"

namespace mg {

struct TokenLogprob {
  std::optional<std::int64_t> id;  // where the server gives it; any number
  std::string text;
  std::optional<double> logprob;  // nat; nothing where it is no log-probability
  std::string value;              // then: what stood there
};

/// One token that the server wrote, and what it held likely in its place.
struct LogprobPosition {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;  // most likely first
};

struct LogprobAnswer {
  std::string fault;   // empty: a whole answer; else "no-logprobs", "http-400", "cut", ...
  std::string detail;  // of the fault: what came
  std::vector<LogprobPosition> positions;
};

/// A greedy completion of token ids in one piece, with the `top` most likely tokens of each place.
HttpRequest logprob_request(const std::string& base_url, const std::string& model,
                            std::span<const std::int32_t> ids, std::int64_t max_tokens,
                            std::int64_t top);

/// What the answer must fit; it is then read whole or not at all.  An answer whose tokens are
/// not as many as its "usage" counts cannot be followed: llama.cpp leaves out tokens that end
/// within a character.
struct LogprobsAsked {
  std::string model;
  std::int64_t max_tokens = 0;
};
LogprobAnswer read_logprobs(const HttpAnswer& raw, const LogprobsAsked& asked);

}  // namespace mg
