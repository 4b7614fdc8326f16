#include "harness/client/openai.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "harness/client/answer.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

using OrderedJson = nlohmann::ordered_json;

/// The members of an object without its braces.
std::string members(const OrderedJson& object) {
  const std::string text = object.dump();
  return text.substr(1, text.size() - 2);
}

std::optional<ServerPrompt> chat_prompt(const SuitePrompt& prompt) {
  OrderedJson body;
  OrderedJson messages = OrderedJson::parse(*prompt.messages);
  while (!messages.empty() && messages.back().value("role", "") == "assistant") {
    messages.erase(messages.size() - 1);
  }
  if (messages.empty()) {
    return std::nullopt;
  }
  body["messages"] = std::move(messages);
  if (prompt.tools) {
    body["tools"] = OrderedJson::parse(*prompt.tools);
  }
  if (prompt.template_variables) {
    body["chat_template_kwargs"] = OrderedJson::parse(*prompt.template_variables);
  }
  return ServerPrompt{.id = prompt.id, .chat = true, .content = members(body)};
}

std::optional<ServerPrompt> plain_prompt(const SuitePrompt& prompt) {
  OrderedJson body;
  if (prompt.text) {
    if (prompt.text->empty()) {
      return std::nullopt;
    }
    body["prompt"] = *prompt.text;
  } else {
    const auto length = prompt.scored_begin > 1 ? prompt.scored_begin : prompt.tokens();
    body["prompt"] =
        std::vector<std::int32_t>(prompt.input_ids.begin(), prompt.input_ids.begin() + length);
  }
  return ServerPrompt{.id = prompt.id, .chat = false, .content = members(body)};
}

[[noreturn]] void fail(std::string code, std::string what, const std::string& base_url,
                       std::string expected, std::string actual, std::string hint) {
  throw Error({.code = std::move(code),
               .what = std::move(what),
               .where = base_url + "/models",
               .expected = std::move(expected),
               .actual = std::move(actual),
               .hint = std::move(hint)});
}

/// The names that a list of models holds, or nothing where it is none.
std::optional<std::vector<std::string>> listed_models(const std::string& body) {
  const OrderedJson json = OrderedJson::parse(body, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object() || !json.contains("data") ||
      !json["data"].is_array()) {
    return std::nullopt;
  }
  std::vector<std::string> names;
  for (const OrderedJson& model : json["data"]) {
    if (model.is_object() && model.contains("id") && model["id"].is_string()) {
      names.push_back(model["id"].get<std::string>());
    }
  }
  return names;
}

std::string joined_names(const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 8;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kMost); ++i) {
    text += (i == 0 ? "" : ", ") + names[i];
  }
  return names.size() > kMost ? fmt::format("{} and {} more", text, names.size() - kMost) : text;
}

}  // namespace

std::string api_key_from_environment() {
  for (const char* name : {"MERGEGAUGE_API_KEY", "OPENAI_API_KEY"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') {
      return value;
    }
  }
  return {};
}

std::string without_key(std::string text, const std::string& key) {
  if (key.empty()) {
    return text;
  }
  for (std::size_t at = text.find(key); at != std::string::npos; at = text.find(key, at)) {
    text.replace(at, key.size(), "***");
  }
  return text;
}

ServerPrompts server_prompts(const std::vector<Suite>& suites) {
  ServerPrompts all;
  for (const SuitePrompt& prompt : all_prompts(suites)) {
    if (!prompt.images.empty() || prompt.pixel_values || prompt.pixel_values_videos) {
      ++all.with_images;
      continue;
    }
    auto made = prompt.messages ? chat_prompt(prompt) : plain_prompt(prompt);
    if (made) {
      all.prompts.push_back(std::move(*made));
    } else {
      ++all.empty;
    }
  }
  return all;
}

HttpRequest completion_request(const std::string& base_url, const std::string& model,
                               const ServerPrompt& prompt, const CompletionSettings& settings) {
  OrderedJson body{{"model", model},
                   {"max_tokens", settings.max_tokens},
                   {"temperature", 0},
                   {"stream", true},
                   {"stream_options", {{"include_usage", true}}}};
  if (settings.ignore_eos) {
    body["ignore_eos"] = true;
  }
  return {.url = base_url + (prompt.chat ? "/chat/completions" : "/completions"),
          .body = fmt::format("{{{},{}}}", members(body), prompt.content),
          .events = true};
}

void check_server(HttpClient& client, const std::string& base_url,
                  const std::vector<std::string>& models, const std::string& key) {
  const HttpRequest request{.url = base_url + "/models", .body = {}, .events = false};
  const HttpAnswer answer = client.send(std::span(&request, 1)).front();
  if (answer.end == HttpEnd::kUnreachable) {
    fail("server.unreachable", "no server answers at this URL", base_url,
         "an OpenAI-compatible server", answer.detail, "is it running, and on this port?");
  }
  if (answer.end == HttpEnd::kInsecure) {
    fail("server.insecure", "the server cannot be trusted", base_url,
         "TLS with a certificate that this machine accepts", answer.detail,
         "SSL_CERT_FILE names further certificates to accept");
  }
  if (answer.status == 401 || answer.status == 403) {
    fail("server.unauthorised", "the server refuses the key", base_url,
         "a key in MERGEGAUGE_API_KEY or OPENAI_API_KEY",
         without_key(
             fmt::format("{}, {}", key.empty() ? "no key" : "a key", error_text(answer.body)), key),
         "");
  }
  const auto listed = answer.end == HttpEnd::kWhole && answer.status == 200
                          ? listed_models(answer.body)
                          : std::nullopt;
  for (const std::string& model : models) {
    if (listed && std::find(listed->begin(), listed->end(), model) == listed->end()) {
      fail("server.no-model", fmt::format("the server has no model \"{}\"", model), base_url,
           "one of " + joined_names(*listed), model,
           "--model and --adapter-model take the names that the server lists");
    }
  }
}

}  // namespace mg
