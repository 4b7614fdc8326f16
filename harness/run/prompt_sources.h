// The tokenizers and chat templates of base, adapter and merged: they turn a suite's texts and
// chats into token ids, and say where the folders disagree.  Not for: reading suites (suites/).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "harness/io/chat_template/prompt_tokenizer.h"
#include "harness/result/finding.h"
#include "suites/suite.h"

namespace mg {

/// Where tokenizers may be; empty: no such folder in this run.
struct PromptFolders {
  std::filesystem::path base;
  std::filesystem::path adapter;
  std::filesystem::path merged;
};

class PromptSources {
 public:
  /// Reads what tokenizers there are.  Never throws mg::Error: a folder whose tokenizer cannot be
  /// read matters only to who needs it.
  explicit PromptSources(const PromptFolders& folders);

  /// Gives every text and chat of `suite` its ids: those of the adapter's tokenizer and template,
  /// else the base's (an adapter saved with a tokenizer was trained with it), else merged's.  Every
  /// other folder's answer is compared.  A chat's assistant messages become spans "assistant".
  /// Prompts without a single token, and chats that the template refuses, are left out; findings
  /// say so.  Throws Error "suite.needs-tokenizer" where no folder can turn a prompt into ids, the
  /// tokenizer's own Error where one is there but cannot be read, "suite.empty" where nothing is
  /// left.
  void tokenize(Suite& suite);

  /// What the prompts so far have shown, a finding for each folder and kind of difference.
  std::vector<Finding> findings() const;

  /// For showing ids as text; null where no folder has a tokenizer.
  const PromptTokenizer* reference() const;

 private:
  struct Source {
    std::string name;  // "adapter", "base", "merged"
    std::filesystem::path folder;
    std::optional<PromptTokenizer> tokenizer;
    std::optional<ErrorParts> error;  // why there is none

    bool can_chat() const { return tokenizer && !tokenizer->settings().templates.empty(); }
  };
  /// One kind of difference of one folder: how often, and the first.
  struct Difference {
    std::string kind;  // "rendering", "ids"
    const Source* reference = nullptr;
    const Source* subject = nullptr;
    std::int64_t prompts = 0;
    std::string expected;
    std::string actual;
  };
  struct LeftOut {
    std::int64_t prompts = 0;
    std::string first;  // the prompt, and for a refusal what the template said
  };

  const Source& reference_for(const Suite& suite, const SuitePrompt& prompt) const;
  bool tokenize(const Suite& suite, SuitePrompt& prompt);
  void compare(const Source& reference, const PromptTokens& tokens, const Suite& suite,
               const SuitePrompt& prompt);
  void note_difference(std::string kind, const Source& reference, const Source& subject,
                       std::string expected, std::string actual);
  Finding finding_of(const Difference& difference) const;

  std::vector<Source> sources_;  // the reference first
  std::vector<Difference> differences_;
  LeftOut empty_;
  LeftOut refused_;
  std::int64_t texts_ = 0;  // prompts that were turned into ids
  std::int64_t chats_ = 0;  // those of them that are chats
};

}  // namespace mg
