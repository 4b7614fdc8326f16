#include "harness/run/prompts.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/run/pictures.h"
#include "suites/load.h"

namespace mg {
namespace {

constexpr const char* kSpecialSlice = "special-tokens";
constexpr const char* kImageSlice = "image-tokens";  // rows that predict a placeholder

void add_prompt(const SuitePrompt& prompt, const ModelLimits& limits, const VisionConfig* vision,
                Prompts& prompts, std::map<std::string, std::vector<RowRange>>& slices) {
  const auto index = static_cast<std::int64_t>(prompts.rows.size());
  prompts.batch.add(prompt.id, content_of(prompt, vision));
  prompts.rows.push_back({.id = prompt.id,
                          .rows = prompt.tokens(),
                          .next_tokens = next_tokens_of(prompt.input_ids, prompt.scored_begin)});
  for (const std::string& tag : prompt.tags) {
    slices[tag].push_back({index, 0, prompt.tokens()});
  }
  // A span names tokens; what predicts them are the rows one before.
  for (const TokenSpan& span : prompt.spans) {
    slices[span.name].push_back(
        {index, std::max<std::int64_t>(span.range.begin - 1, 0), span.range.end - 1});
  }
  for (std::int64_t t = 1; t < prompt.tokens(); ++t) {
    const std::int32_t id = prompt.input_ids[static_cast<std::size_t>(t)];
    if (vision != nullptr && (id == vision->image_token_id || id == vision->video_token_id)) {
      slices[kImageSlice].push_back({index, t - 1, t});
    } else if (std::find(limits.special_ids.begin(), limits.special_ids.end(), id) !=
               limits.special_ids.end()) {
      slices[kSpecialSlice].push_back({index, t - 1, t});
    }
  }
}

SuiteInfo info_of(const Suite& suite) {
  SuiteInfo info{.name = suite.name,
                 .digest = suite.digest,
                 .prompts = static_cast<std::int64_t>(suite.prompts.size()),
                 .tokens = suite.total_tokens(),
                 .token_ids = {}};
  for (const SuitePrompt& prompt : suite.prompts) {
    info.token_ids.push_back({.prompt = prompt.id, .ids = prompt.input_ids});
  }
  return info;
}

}  // namespace

std::vector<std::int32_t> beginning_of(const SuitePrompt& prompt) {
  std::int64_t length = prompt.tokens();
  if (prompt.scored_begin > 1) {
    length = prompt.scored_begin;
  } else if (prompt.messages) {
    const auto messages = nlohmann::json::parse(*prompt.messages);
    const bool answered = messages.back().is_object() &&
                          messages.back().value("role", nlohmann::json()) == "assistant";
    for (const TokenSpan& span : prompt.spans) {
      if (answered && span.name == "assistant") {
        length = span.range.begin;  // the last one stays
      }
    }
  }
  return {prompt.input_ids.begin(), prompt.input_ids.begin() + length};
}

LoadedSuites load_suites(const std::vector<std::string>& suites, const ModelLimits& limits,
                         std::int64_t token_budget, const PromptFolders& folders,
                         const VisionConfig* vision) {
  const auto sources = std::make_shared<PromptSources>(folders);
  LoadedSuites loaded;
  for (const std::string& name : suites.empty() ? std::vector<std::string>{"smoke"} : suites) {
    Suite suite = load_suite(name, limits);
    sources->tokenize(suite);
    prepare_pictures(suite, vision, std::array{folders.base, folders.adapter, folders.merged});
    check_limits(suite, limits);
    if (token_budget > 0) {
      const auto count = static_cast<std::int64_t>(std::max<std::size_t>(suites.size(), 1));
      suite = limit_tokens(suite, std::max<std::int64_t>(token_budget / count, 1));
    }
    loaded.infos.push_back(info_of(suite));
    loaded.suites.push_back(std::move(suite));
  }
  loaded.findings = sources->findings();
  loaded.sources = sources;
  return loaded;
}

Prompts make_prompts(const LoadedSuites& loaded, const ModelLimits& limits,
                     const VisionConfig* vision) {
  Prompts prompts;
  prompts.suites = loaded.infos;
  std::map<std::string, std::vector<RowRange>> slices;
  for (const SuitePrompt& prompt : all_prompts(loaded.suites)) {
    add_prompt(prompt, limits, vision, prompts, slices);
  }
  for (auto& [name, ranges] : slices) {
    prompts.slices.push_back({name, std::move(ranges)});
  }
  prompts.findings = loaded.findings;
  prompts.sources = loaded.sources;
  return prompts;
}

Prompts load_prompts(const std::vector<std::string>& suites, const ModelLimits& limits,
                     std::int64_t token_budget, const PromptFolders& folders,
                     const VisionConfig* vision) {
  return make_prompts(load_suites(suites, limits, token_budget, folders, vision), limits, vision);
}

Prompts first_tokens(const Prompts& all, std::int64_t tokens) {
  Prompts cut = all;
  cut.batch = {};
  cut.rows.clear();
  cut.slices.clear();
  for (std::size_t i = 0; i < all.rows.size(); ++i) {
    const BatchPrompt& prompt = all.batch.prompts[i];
    const std::int64_t length = std::min<std::int64_t>(prompt.length, tokens);
    cut.batch.add(prompt.id, all.batch.content(i, length));
    cut.rows.push_back(all.rows[i]);
    cut.rows.back().rows = length;
    if (!cut.rows.back().next_tokens.empty()) {
      cut.rows.back().next_tokens.resize(static_cast<std::size_t>(length));
    }
  }
  return cut;
}

Prompts sample_prompts(const Prompts& all, std::int64_t tokens, std::int64_t least) {
  const auto count = static_cast<std::int64_t>(all.rows.size());
  const std::int64_t by_tokens = all.batch.tokens() / std::max<std::int64_t>(tokens, 1);
  const std::int64_t by_prompts = count / std::max<std::int64_t>(least, 1);
  const std::int64_t stride = std::max<std::int64_t>(1, std::min(by_tokens, by_prompts));
  std::set<std::int64_t> taken;
  for (std::int64_t i = 0; i < count; i += stride) {
    taken.insert(i);
  }
  if (!all.batch.pictures.empty()) {  // what is measured of a tower needs an image
    taken.insert(static_cast<std::int64_t>(all.batch.pictures.front().prompt));
  }
  Prompts sample;
  for (const std::int64_t i : taken) {
    const auto index = static_cast<std::size_t>(i);
    const BatchPrompt& prompt = all.batch.prompts[index];
    sample.batch.add(prompt.id, all.batch.content(index, prompt.length));
    sample.rows.push_back(all.rows[index]);
  }
  return sample;
}

}  // namespace mg
