// The requests of the OpenAI API that are sent, as vLLM, SGLang and llama.cpp's server take them.
// Not for: sending them (http.h), reading what comes back (answer.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/client/http.h"
#include "suites/suite.h"

namespace mg {

/// MERGEGAUGE_API_KEY, else OPENAI_API_KEY, else empty.
std::string api_key_from_environment();

/// `text` without the key: servers quote what they were sent.
std::string without_key(std::string text, const std::string& key);

/// What a prompt of a suite is to a server.
struct ServerPrompt {
  std::string id;
  bool chat = false;    // /chat/completions, else /completions
  std::string content;  // JSON members: "messages": [...] or "prompt": ...
};

struct ServerPrompts {
  std::vector<ServerPrompt> prompts;
  std::int64_t with_images = 0;  // left out: images are not sent
  std::int64_t empty = 0;        // left out: nothing before the part that a model is to write
};

/// Chats without the assistant's last message, which the model is to write; texts as they are,
/// token ids without their completion.
ServerPrompts server_prompts(const std::vector<Suite>& suites);

struct CompletionSettings {
  std::int64_t max_tokens = 64;
  bool ignore_eos = true;  // vLLM, SGLang and llama.cpp know it: texts of one length
};

/// A streamed, greedy completion.
HttpRequest completion_request(const std::string& base_url, const std::string& model,
                               const ServerPrompt& prompt, const CompletionSettings& settings);

/// Asks once who is there.  Throws Error "server.unreachable" where nobody answers,
/// "server.insecure" where TLS fails, "server.unauthorised" where the key is missing or wrong, and
/// "server.no-model" where the server lists its models and one of `models` is not among them.  A
/// server without such a list is taken as it is.
void check_server(HttpClient& client, const std::string& base_url,
                  const std::vector<std::string>& models, const std::string& key);

}  // namespace mg
