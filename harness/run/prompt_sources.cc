#include "harness/run/prompt_sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "harness/io/tokenizer/unicode.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

// A suite's day must not be the day of the run: two runs of one suite see the same ids.
constexpr ChatTime kSuiteDay{2024, 7, 26};

nlohmann::ordered_json chat_of(const SuitePrompt& prompt) {
  nlohmann::ordered_json chat;
  if (prompt.template_variables) {
    chat = nlohmann::ordered_json::parse(*prompt.template_variables);
  }
  chat["messages"] = nlohmann::ordered_json::parse(*prompt.messages);
  if (prompt.tools) {
    chat["tools"] = nlohmann::ordered_json::parse(*prompt.tools);
  }
  return chat;
}

PromptTokens encode(const PromptTokenizer& tokenizer, const SuitePrompt& prompt) {
  if (prompt.messages) {
    return tokenizer.encode_chat(chat_of(prompt),
                                 prompt.now ? ChatTime::parse(*prompt.now) : kSuiteDay);
  }
  return tokenizer.encode_text(*prompt.text);
}

/// Errors that a template raises while it runs: it refuses this chat, others it may take.
bool is_refusal(const Error& error) {
  const std::string& code = error.parts().code;
  return code.starts_with("chat_template.") && code != "chat_template.syntax" &&
         code != "chat_template.unsupported" && code != "chat_template.missing" &&
         code != "chat_template.bad-time";
}

std::string name_of(const Suite& suite, const SuitePrompt& prompt) {
  return suite.name + "/" + prompt.id;
}

/// Up to 40 bytes of `text` from shortly before `at`, as a JSON string.
std::string excerpt(std::string_view text, std::size_t at) {
  constexpr std::size_t kBefore = 16;
  constexpr std::size_t kLength = 48;
  const std::size_t begin = at > kBefore ? at - kBefore : 0;
  const std::string part = utf8_lossy(text.substr(begin, kLength));
  return nlohmann::json(part).dump();
}

std::string named(const std::string& name) {
  return name + "'s";
}

}  // namespace

PromptSources::PromptSources(const PromptFolders& folders) {
  const std::pair<const char*, const std::filesystem::path*> in_order[] = {
      {"adapter", &folders.adapter}, {"base", &folders.base}, {"merged", &folders.merged}};
  for (const auto& [name, folder] : in_order) {
    if (folder->empty()) {
      continue;
    }
    Source source{.name = name, .folder = *folder, .tokenizer = {}, .error = {}};
    try {
      source.tokenizer.emplace(PromptTokenizer::open(*folder));
    } catch (const Error& error) {
      source.error = error.parts();
    }
    sources_.push_back(std::move(source));
  }
}

const PromptTokenizer* PromptSources::reference() const {
  for (const Source& source : sources_) {
    if (source.tokenizer) {
      return &*source.tokenizer;
    }
  }
  return nullptr;
}

const PromptSources::Source& PromptSources::reference_for(const Suite& suite,
                                                          const SuitePrompt& prompt) const {
  for (const Source& source : sources_) {
    if (prompt.messages ? source.can_chat() : source.tokenizer.has_value()) {
      return source;
    }
  }
  for (const Source& source : sources_) {
    if (source.error && source.name != "adapter") {  // an adapter's folder seldom has a tokenizer
      throw Error(*source.error);
    }
  }
  throw Error(
      {.code = prompt.messages ? "chat_template.missing" : "suite.needs-tokenizer",
       .what = prompt.messages ? "no folder of this run has a chat template"
                               : "no folder of this run has a tokenizer",
       .where = fmt::format("suite {}, prompt \"{}\"", suite.name, prompt.id),
       .expected = prompt.messages
                       ? "chat_template.jinja, or \"chat_template\" in tokenizer_config.json"
                       : "tokenizer.json",
       .actual = "none",
       .hint = prompt.messages ? "use a suite of texts, such as --suite language"
                               : "use a suite of token ids, such as --suite smoke"});
}

void PromptSources::tokenize(Suite& suite) {
  const bool any = std::any_of(suite.prompts.begin(), suite.prompts.end(),
                               [](const SuitePrompt& p) { return p.text || p.messages; });
  if (!any) {
    return;
  }
  std::erase_if(suite.prompts, [&](SuitePrompt& prompt) {
    return (prompt.text || prompt.messages) && !tokenize(suite, prompt);
  });
  if (suite.prompts.empty()) {
    throw Error({.code = "suite.empty",
                 .what = "no prompt of the suite can be run",
                 .where = "suite " + suite.name,
                 .expected = "a prompt with a token that the chat template accepts",
                 .actual = refused_.prompts > 0 ? refused_.first : "no tokens",
                 .hint = ""});
  }
}

bool PromptSources::tokenize(const Suite& suite, SuitePrompt& prompt) {
  const Source& reference = reference_for(suite, prompt);
  PromptTokens tokens;
  try {
    tokens = encode(*reference.tokenizer, prompt);
  } catch (const Error& error) {
    if (!is_refusal(error)) {
      ErrorParts parts = error.parts();
      parts.where = fmt::format("suite {}, prompt \"{}\"{}{}", suite.name, prompt.id,
                                parts.where.empty() ? "" : "; ", parts.where);
      throw Error(std::move(parts));
    }
    if (refused_.prompts++ == 0) {
      refused_.first = name_of(suite, prompt) + ": " + error.parts().what;
    }
    return false;
  }
  ++texts_;
  chats_ += prompt.messages ? 1 : 0;
  compare(reference, tokens, suite, prompt);
  if (tokens.ids.empty()) {
    if (empty_.prompts++ == 0) {
      empty_.first = name_of(suite, prompt);
    }
    return false;
  }
  prompt.input_ids = std::move(tokens.ids);
  for (const TextRange& range : tokens.assistant) {
    prompt.spans.push_back(
        {"assistant",
         {static_cast<std::int64_t>(range.begin), static_cast<std::int64_t>(range.end)}});
  }
  return true;
}

void PromptSources::compare(const Source& reference, const PromptTokens& tokens, const Suite& suite,
                            const SuitePrompt& prompt) {
  for (const Source& subject : sources_) {
    // A folder without a tokenizer, or without a template, is one finding, not one a prompt.
    if (&subject == &reference || !subject.tokenizer || (prompt.messages && !subject.can_chat())) {
      continue;
    }
    const std::string where = "prompt \"" + name_of(suite, prompt) + "\"";
    try {
      const PromptTokens other = encode(*subject.tokenizer, prompt);
      if (other.text != tokens.text) {
        const auto [left, right] = std::mismatch(tokens.text.begin(), tokens.text.end(),
                                                 other.text.begin(), other.text.end());
        const auto at = static_cast<std::size_t>(left - tokens.text.begin());
        note_difference("rendering", reference, subject,
                        fmt::format("{}, byte {}: {}", where, at, excerpt(tokens.text, at)),
                        excerpt(other.text, at));
      } else if (const auto difference =
                     first_difference(*reference.tokenizer, tokens, *subject.tokenizer, other)) {
        note_difference(
            "ids", reference, subject,
            fmt::format("{}, token {}: {}{}", where, difference->position, difference->reference,
                        difference->text_before.empty()
                            ? ""
                            : " after " + nlohmann::json(difference->text_before).dump()),
            difference->subject);
      }
    } catch (const Error& error) {
      note_difference(prompt.messages ? "rendering" : "ids", reference, subject, where,
                      error.parts().what);
    }
  }
}

void PromptSources::note_difference(std::string kind, const Source& reference,
                                    const Source& subject, std::string expected,
                                    std::string actual) {
  const auto found = std::find_if(differences_.begin(), differences_.end(), [&](auto& known) {
    return known.kind == kind && known.reference == &reference && known.subject == &subject;
  });
  if (found != differences_.end()) {
    ++found->prompts;
    return;
  }
  differences_.push_back(
      {std::move(kind), &reference, &subject, 1, std::move(expected), std::move(actual)});
}

Finding PromptSources::finding_of(const Difference& difference) const {
  const bool ids = difference.kind == "ids";
  const Source& reference = *difference.reference;
  const Source& subject = *difference.subject;
  // Between base and adapter a difference is the trainer's choice; merged must follow it.
  const bool merged = subject.name == "merged";
  Finding finding{
      .rule = ids ? "prompts.token-ids" : "prompts.rendering",
      .catalogue = {ids ? "F41" : "F43"},
      .severity = merged ? Severity::kError : Severity::kWarning,
      .command = "compare",
      .subject = subject.name + (ids ? "/tokenizer.json" : ", chat template"),
      .message = fmt::format("{} {} {} of {} prompts {} than {}", named(subject.name),
                             ids ? "tokenizer gives" : "chat template renders", difference.prompts,
                             ids ? texts_ : chats_, ids ? "other token ids" : "another text",
                             named(reference.name)),
      .expected = difference.expected,
      .actual = difference.actual,
      .fix = std::nullopt};
  if (merged) {
    finding.fix = Fix{.automatic = false,
                      .what = fmt::format("copy {} {} to merged", named(reference.name),
                                          ids ? "tokenizer files" : "chat template")};
  }
  return finding;
}

std::vector<Finding> PromptSources::findings() const {
  std::vector<Finding> out;
  for (const Difference& difference : differences_) {
    out.push_back(finding_of(difference));
  }
  const Source* merged = nullptr;
  for (const Source& source : sources_) {
    merged = source.name == "merged" ? &source : merged;
  }
  const bool others = merged != nullptr && reference() != nullptr &&
                      (!merged->tokenizer || reference() != &*merged->tokenizer);
  if (texts_ > 0 && others && !merged->tokenizer) {
    out.push_back({.rule = "prompts.no-tokenizer",
                   .catalogue = {"F41"},
                   .severity = Severity::kWarning,
                   .command = "compare",
                   .subject = "merged/tokenizer.json",
                   .message = "merged's tokenizer cannot be read, so that its token ids were not "
                              "compared: " +
                              merged->error->what,
                   .expected = "a tokenizer.json that can be read",
                   .actual = merged->error->actual,
                   .fix = std::nullopt});
  }
  if (chats_ > 0 && others && merged->tokenizer && !merged->can_chat()) {
    out.push_back({.rule = "prompts.no-template",
                   .catalogue = {"F43"},
                   .severity = Severity::kError,
                   .command = "compare",
                   .subject = "merged, chat template",
                   .message = "merged's folder has no chat template, and the others' has one",
                   .expected = "chat_template.jinja, or \"chat_template\" in tokenizer_config.json",
                   .actual = "none",
                   .fix = Fix{.automatic = false, .what = "copy the chat template to merged"}});
  }
  const auto left_out = [&](const LeftOut& prompts, std::string rule, Severity severity,
                            std::string why) {
    if (prompts.prompts > 0) {
      out.push_back(
          {.rule = std::move(rule),
           .catalogue = {},
           .severity = severity,
           .command = "compare",
           .subject = prompts.first,
           .message = fmt::format("{} {} left out: {}", prompts.prompts,
                                  prompts.prompts == 1 ? "prompt was" : "prompts were", why),
           .expected = {},
           .actual = {},
           .fix = std::nullopt});
    }
  };
  left_out(refused_, "prompts.refused", Severity::kWarning, "the chat template refuses them");
  left_out(empty_, "prompts.empty", Severity::kNote, "the tokenizer makes no token of them");
  return out;
}

}  // namespace mg
