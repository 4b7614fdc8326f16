#include "harness/client/logprobs.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <string_view>

#include "harness/client/answer.h"

namespace mg {
namespace {

using LogprobJson = nlohmann::json;

/// Servers write -9999 (vLLM) or the lowest float (llama.cpp) for minus infinity, which JSON has
/// not.
constexpr double kNoLogprob = -9000;
/// A probability rounded to FP32 may lie above 1 by a few ulps.
constexpr double kAboveOne = 1e-5;

const LogprobJson* list_in(const LogprobJson& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? &*found : nullptr;
}

TokenLogprob token_of(const std::string& name, const LogprobJson& logprob) {
  TokenLogprob token{.id = std::nullopt, .text = name, .logprob = std::nullopt, .value = {}};
  const double number = logprob.is_number() ? logprob.get<double>() : 1;
  if (number <= kAboveOne && number > kNoLogprob) {
    token.logprob = number;
  } else {
    token.value = logprob.is_structured()
                      ? logprob.type_name()
                      : logprob.dump(-1, ' ', /*ensure_ascii=*/true).substr(0, 40);
  }
  constexpr std::string_view kIdPrefix = "token_id:";
  if (name.starts_with(kIdPrefix)) {
    std::int64_t id = 0;
    const char* end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + kIdPrefix.size(), end, id);
    if (parsed.ec == std::errc() && parsed.ptr == end) {
      token.id = id;
    }
  }
  return token;
}

/// {"token": ..., "id": ..., "logprob": ...}
std::optional<TokenLogprob> token_object(const LogprobJson& object) {
  if (!object.is_object() || !object.contains("token") || !object["token"].is_string()) {
    return std::nullopt;
  }
  const auto logprob = object.find("logprob");
  TokenLogprob token = token_of(object["token"].get<std::string>(),
                                logprob == object.end() ? LogprobJson() : *logprob);
  if (const auto id = object.find("id"); id != object.end() && id->is_number_integer()) {
    token.id = id->get<std::int64_t>();
  }
  return token;
}

void sort_by_likelihood(std::vector<TokenLogprob>& top) {
  std::stable_sort(top.begin(), top.end(), [](const TokenLogprob& left, const TokenLogprob& right) {
    return left.logprob.value_or(kNoLogprob) > right.logprob.value_or(kNoLogprob);
  });
}

/// False for what is not of this form.
bool read_content(const LogprobJson& content, std::vector<LogprobPosition>& positions) {
  for (const LogprobJson& each : content) {
    auto chosen = token_object(each);
    if (!chosen) {
      return false;
    }
    LogprobPosition position{.chosen = std::move(*chosen), .top = {}};
    if (const LogprobJson* others = list_in(each, "top_logprobs")) {
      for (const LogprobJson& other : *others) {
        auto token = token_object(other);
        if (!token) {
          return false;
        }
        position.top.push_back(std::move(*token));
      }
    }
    sort_by_likelihood(position.top);
    positions.push_back(std::move(position));
  }
  return true;
}

bool read_lists(const LogprobJson& logprobs, std::vector<LogprobPosition>& positions) {
  const LogprobJson* tokens = list_in(logprobs, "tokens");
  const LogprobJson* chosen = list_in(logprobs, "token_logprobs");
  const LogprobJson* tops = list_in(logprobs, "top_logprobs");
  if (tokens == nullptr || chosen == nullptr || tokens->size() != chosen->size() ||
      (tops != nullptr && tops->size() != tokens->size())) {
    return false;
  }
  for (std::size_t i = 0; i < tokens->size(); ++i) {
    if (!(*tokens)[i].is_string()) {
      return false;
    }
    LogprobPosition position{.chosen = token_of((*tokens)[i].get<std::string>(), (*chosen)[i]),
                             .top = {}};
    if (tops != nullptr && (*tops)[i].is_object()) {
      for (const auto& [name, logprob] : (*tops)[i].items()) {
        position.top.push_back(token_of(name, logprob));
      }
    }
    sort_by_likelihood(position.top);
    positions.push_back(std::move(position));
  }
  return true;
}

/// Reads the tokens of an answer that came whole, and returns what is wrong with it, or nothing.
std::string read_tokens(const LogprobJson& json, const LogprobsAsked& asked,
                        std::vector<LogprobPosition>& positions) {
  if (!json.is_object()) {
    return "bad-event";
  }
  if (const auto model = json.find("model");
      model != json.end() && !model->is_null() && *model != LogprobJson(asked.model)) {
    return "wrong-model";
  }
  const LogprobJson* choices = list_in(json, "choices");
  if (choices == nullptr || choices->size() != 1 || !choices->front().is_object()) {
    return "bad-event";
  }
  const auto logprobs = choices->front().find("logprobs");
  if (logprobs == choices->front().end() || !logprobs->is_object()) {
    return "no-logprobs";
  }
  const LogprobJson* content = list_in(*logprobs, "content");
  const bool read =
      content != nullptr ? read_content(*content, positions) : read_lists(*logprobs, positions);
  if (!read) {
    return "bad-logprobs";
  }
  if (positions.empty()) {
    return "no-logprobs";
  }
  const auto usage = json.find("usage");
  const bool counted = usage != json.end() && usage->is_object() &&
                       usage->contains("completion_tokens") &&
                       (*usage)["completion_tokens"].is_number_unsigned();
  const std::uint64_t tokens =
      counted ? (*usage)["completion_tokens"].get<std::uint64_t>() : positions.size();
  const bool fits = tokens == positions.size() && std::ssize(positions) <= asked.max_tokens;
  return fits ? "" : "other-count";
}

}  // namespace

HttpRequest logprob_request(const std::string& base_url, const std::string& model,
                            std::span<const std::int32_t> ids, std::int64_t max_tokens,
                            std::int64_t top) {
  const nlohmann::ordered_json body{
      {"model", model},           {"prompt", std::vector<std::int32_t>(ids.begin(), ids.end())},
      {"max_tokens", max_tokens}, {"temperature", 0},
      {"logprobs", top},          {"return_tokens_as_token_ids", true},
      {"stream", false}};
  return {.url = base_url + "/completions", .body = body.dump(), .events = false};
}

LogprobAnswer read_logprobs(const HttpAnswer& raw, const LogprobsAsked& asked) {
  LogprobAnswer answer;
  if (auto fault = transport_fault(raw)) {
    answer.fault = std::move(fault->name);
    answer.detail = std::move(fault->detail);
    return answer;
  }
  if (raw.end != HttpEnd::kWhole) {
    answer.fault = raw.end == HttpEnd::kTimedOut ? "timed-out" : "cut";
    answer.detail = raw.detail;
    return answer;
  }
  const LogprobJson json = LogprobJson::parse(raw.body, nullptr, /*allow_exceptions=*/false);
  answer.fault = json.is_discarded() ? "bad-json" : read_tokens(json, asked, answer.positions);
  if (!answer.fault.empty()) {
    answer.detail = error_text(raw.body);
    answer.positions.clear();
  }
  return answer;
}

}  // namespace mg
