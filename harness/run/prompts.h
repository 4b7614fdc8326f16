// From suites to what a run needs: packed tokens, the layout of rows for metrics, slices by tag and
// span.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "harness/lanes/batch.h"
#include "harness/metrics/accumulator.h"
#include "harness/metrics/summary.h"
#include "harness/result/report.h"
#include "harness/run/prompt_sources.h"
#include "suites/suite.h"

namespace mg {

struct Prompts {
  Batch batch;
  std::vector<PromptRows> rows;   // beside batch.prompts
  std::vector<SliceSpec> slices;  // tags, spans, special tokens
  std::vector<SuiteInfo> suites;  // for the report
  std::vector<Finding> findings;  // where the folders' tokenizers or templates disagree
  std::shared_ptr<const PromptSources> sources;
};

/// The suites of a run, every prompt with its ids.
struct LoadedSuites {
  std::vector<Suite> suites;
  std::vector<SuiteInfo> infos;   // for the report
  std::vector<Finding> findings;  // where the folders' tokenizers or templates disagree
  std::shared_ptr<const PromptSources> sources;
};

/// Loads every suite (the built-in smoke suite where none is named), turns texts and chats into ids
/// with the folders' tokenizers (PromptSources), checks the ids against the limits and cuts the
/// suite to `token_budget` tokens (0: no limit).  `vision`: the tower that prompts' images go
/// through, null where the model has none.  Throws Error "suite.*", "tokenizer.*",
/// "chat_template.*".
LoadedSuites load_suites(const std::vector<std::string>& suites, const ModelLimits& limits,
                         std::int64_t token_budget, const PromptFolders& folders = {},
                         const VisionConfig* vision = nullptr);

Prompts make_prompts(const LoadedSuites& loaded, const ModelLimits& limits,
                     const VisionConfig* vision = nullptr);

/// Both.
Prompts load_prompts(const std::vector<std::string>& suites, const ModelLimits& limits,
                     std::int64_t token_budget, const PromptFolders& folders = {},
                     const VisionConfig* vision = nullptr);

/// What a model is to go on from: a prompt without its completion, a chat without its last answer.
std::vector<std::int32_t> beginning_of(const SuitePrompt& prompt);

/// The first `tokens` tokens of every prompt; slices, which name places further on, are left out.
Prompts first_tokens(const Prompts& all, std::int64_t tokens);

/// Some of the prompts, spread over all of them: at least `least` prompts and about `tokens`
/// tokens; one with an image, where there is any.
Prompts sample_prompts(const Prompts& all, std::int64_t tokens, std::int64_t least);

}  // namespace mg
