#include "suites/suite.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "harness/io/digest.h"
#include "kernels/core/error.h"
#include "kernels/core/hash.h"

namespace mg {
namespace {

/// "s.jsonl, line 3, prompt "p1"" or, of a generated suite, "suite smoke, prompt "p1"".
std::string place_of(const Suite& suite, const SuitePrompt& prompt) {
  if (prompt.line > 0) {
    return fmt::format("{}, line {}, prompt \"{}\"", suite.path.string(), prompt.line, prompt.id);
  }
  return fmt::format("suite {}, prompt \"{}\"", suite.name, prompt.id);
}

std::string and_others(std::size_t count) {
  if (count <= 1) {
    return "";
  }
  return fmt::format(" (and {} other prompt{})", count - 1, count == 2 ? "" : "s");
}

bool in_vocabulary(std::int32_t id, const ModelLimits& limits) {
  return id >= 0 && id < limits.vocab_size;
}

std::int64_t final_length(const SuitePrompt& prompt) {
  return prompt.tokens() + prompt.sample_tokens;
}

void check_vocabulary(const Suite& suite, const ModelLimits& limits) {
  const SuitePrompt* first = nullptr;
  std::size_t first_position = 0;
  std::size_t count = 0;
  for (const SuitePrompt& prompt : suite.prompts) {
    const auto bad = std::find_if_not(prompt.input_ids.begin(), prompt.input_ids.end(),
                                      [&](std::int32_t id) { return in_vocabulary(id, limits); });
    if (bad == prompt.input_ids.end()) {
      continue;
    }
    if (first == nullptr) {
      first = &prompt;
      first_position = static_cast<std::size_t>(bad - prompt.input_ids.begin());
    }
    ++count;
  }
  if (first != nullptr) {
    throw Error({.code = "suite.token-out-of-range",
                 .what = "a prompt has a token id outside the model's vocabulary",
                 .where = place_of(suite, *first) + and_others(count),
                 .expected = fmt::format("ids from 0 to {}", limits.vocab_size - 1),
                 .actual = fmt::format("{} at position {}", first->input_ids[first_position],
                                       first_position),
                 .hint = "the ids were made with another model's tokenizer"});
  }
}

void check_lengths(const Suite& suite, const ModelLimits& limits) {
  const SuitePrompt* first = nullptr;
  std::size_t count = 0;
  for (const SuitePrompt& prompt : suite.prompts) {
    if (final_length(prompt) > limits.max_tokens) {
      first = first == nullptr ? &prompt : first;
      ++count;
    }
  }
  if (first != nullptr) {
    throw Error(
        {.code = "suite.prompt-too-long",
         .what = "a prompt is longer than the model's context",
         .where = place_of(suite, *first) + and_others(count),
         .expected = fmt::format("at most {} tokens", limits.max_tokens),
         .actual = fmt::format("{} tokens", final_length(*first)),
         .hint = "shorten the prompt; it is not cut, because a cut prompt tests another text"});
  }
}

nlohmann::ordered_json prompt_to_json(const SuitePrompt& prompt) {
  MG_CHECK(!prompt.pixel_values && prompt.sample_tokens == 0, "prompt has no JSONL form");
  nlohmann::ordered_json line;
  line["id"] = prompt.id;
  if (prompt.text) {
    line["text"] = *prompt.text;
  } else if (prompt.messages) {
    line["messages"] = nlohmann::ordered_json::parse(*prompt.messages);
    if (prompt.tools) {
      line["tools"] = nlohmann::ordered_json::parse(*prompt.tools);
    }
    if (prompt.template_variables) {
      line["chat_template_kwargs"] = nlohmann::ordered_json::parse(*prompt.template_variables);
    }
    if (prompt.now) {
      line["now"] = *prompt.now;
    }
  } else {
    line["input_ids"] = prompt.input_ids;
  }
  if (prompt.scored_begin != 1) {
    line["completion"] = prompt.scored_begin;
  }
  if (!prompt.tags.empty()) {
    line["tags"] = prompt.tags;
  }
  for (const TokenSpan& span : prompt.spans) {
    line["spans"].push_back(
        {{"name", span.name}, {"begin", span.range.begin}, {"end", span.range.end}});
  }
  return line;
}

}  // namespace

std::int64_t Suite::total_tokens() const {
  return std::accumulate(prompts.begin(), prompts.end(), std::int64_t{0},
                         [](std::int64_t sum, const SuitePrompt& p) { return sum + p.tokens(); });
}

std::int64_t Suite::scored_tokens() const {
  return std::accumulate(prompts.begin(), prompts.end(), std::int64_t{0},
                         [](std::int64_t sum, const SuitePrompt& p) {
                           const TokenRange rows = p.likelihood_rows();
                           return sum + std::max<std::int64_t>(rows.end - rows.begin, 0);
                         });
}

bool Suite::needs_model_sampling() const {
  return std::any_of(prompts.begin(), prompts.end(),
                     [](const SuitePrompt& prompt) { return prompt.sample_tokens > 0; });
}

void require_token_ids(const Suite& suite) {
  for (const SuitePrompt& prompt : suite.prompts) {
    if (prompt.input_ids.empty()) {
      throw Error({.code = "suite.needs-tokenizer",
                   .what = fmt::format("a prompt is given as {} and has not been tokenized",
                                       prompt.messages ? "messages" : "text"),
                   .where = place_of(suite, prompt),
                   .expected = "\"input_ids\"",
                   .actual = prompt.messages ? "\"messages\"" : "\"text\"",
                   .hint = "tokenize the prompt with the model's own tokenizer and write its ids"});
    }
  }
}

void check_limits(const Suite& suite, const ModelLimits& limits) {
  require_token_ids(suite);
  check_vocabulary(suite, limits);
  check_lengths(suite, limits);
}

Suite limit_tokens(const Suite& suite, std::int64_t max_tokens) {
  if (suite.total_tokens() <= max_tokens) {
    return suite;
  }
  std::vector<std::size_t> order(suite.prompts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto key = [&](std::size_t index) {
    const std::string& id = suite.prompts[index].id;
    return fingerprint(id.data(), id.size());
  };
  std::sort(order.begin(), order.end(), [&](std::size_t left, std::size_t right) {
    const std::uint64_t left_key = key(left);
    const std::uint64_t right_key = key(right);
    return left_key != right_key ? left_key < right_key : left < right;
  });

  std::vector<std::size_t> chosen;
  std::int64_t total = 0;
  for (const std::size_t index : order) {
    const std::int64_t tokens = suite.prompts[index].tokens();
    if (total + tokens <= max_tokens) {
      total += tokens;
      chosen.push_back(index);
    }
  }
  if (chosen.empty()) {
    const auto shortest = std::min_element(suite.prompts.begin(), suite.prompts.end(),
                                           [](const SuitePrompt& left, const SuitePrompt& right) {
                                             return left.tokens() < right.tokens();
                                           });
    throw Error({.code = "suite.limit-too-small",
                 .what = "the token limit is smaller than every prompt",
                 .where = fmt::format("suite {}", suite.name),
                 .expected = fmt::format("a limit of {} tokens or more", shortest->tokens()),
                 .actual = fmt::format("{}", max_tokens),
                 .hint = "prompts are taken whole: raise the limit"});
  }
  std::sort(chosen.begin(), chosen.end());
  Suite result{.name = suite.name, .path = suite.path, .digest = suite.digest, .prompts = {}};
  for (const std::size_t index : chosen) {
    result.prompts.push_back(suite.prompts[index]);
  }
  return result;
}

std::vector<SuitePrompt> all_prompts(std::span<const Suite> suites) {
  std::vector<SuitePrompt> prompts;
  std::set<std::string> names;
  for (const Suite& suite : suites) {
    if (!names.insert(suite.name).second) {
      throw Error({.code = "suite.duplicate-name",
                   .what = "two suites of this run have the same name",
                   .where = suite.path.string(),
                   .expected = "a name for each suite",
                   .actual = fmt::format("\"{}\" twice", suite.name),
                   .hint = "name the file itself differently, or give the suite once"});
    }
    for (const SuitePrompt& prompt : suite.prompts) {
      prompts.push_back(prompt);
      if (suites.size() > 1) {
        prompts.back().id = suite.name + "/" + prompt.id;
      }
    }
  }
  return prompts;
}

std::string suite_digest(std::string_view text) {
  return "sha256:" + digest_bytes(std::as_bytes(std::span(text)));
}

std::string write_suite(const Suite& suite) {
  std::string out;
  for (const SuitePrompt& prompt : suite.prompts) {
    out += prompt_to_json(prompt).dump();
    out += '\n';
  }
  return out;
}

}  // namespace mg
