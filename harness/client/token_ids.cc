#include "harness/client/token_ids.h"

#include <fmt/format.h>

#include <span>
#include <string_view>
#include <utility>

namespace mg {
namespace {

/// What PreTrainedTokenizerBase.clean_up_tokenization of transformers makes of a text: these blanks
/// go, in this order.
std::string without_blanks(std::string text) {
  constexpr std::pair<std::string_view, std::string_view> kReplaced[] = {
      {" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
      {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kReplaced) {
    for (std::size_t at = text.find(from); at != std::string::npos;
         at = text.find(from, at + to.size())) {
      text.replace(at, from.size(), to);
    }
  }
  return text;
}

}  // namespace

TokenIds::Found TokenIds::find(const TokenLogprob& token) {
  if (token.id) {
    if (*token.id >= 0 && *token.id < vocab_) {
      return {static_cast<std::int32_t>(*token.id), {}};
    }
    return {std::nullopt,
            fmt::format("id {} lies outside the vocabulary of {}", *token.id, vocab_)};
  }
  if (tokenizer_ == nullptr) {
    return {std::nullopt,
            fmt::format("\"{}\" comes as text, and no folder has a tokenizer", token.text)};
  }
  if (by_text_.empty()) {
    read_vocabulary();
  }
  const auto found = by_text_.find(token.text);
  if (found == by_text_.end()) {
    return {std::nullopt, fmt::format("\"{}\" is the text of no token", token.text)};
  }
  if (found->second.second) {
    return {std::nullopt, fmt::format("\"{}\" is the text of several tokens, {} and {}", token.text,
                                      found->second.first, *found->second.second)};
  }
  return {found->second.first, {}};
}

void TokenIds::read_vocabulary() {
  for (std::int32_t id = 0; id < tokenizer_->id_limit() && id < vocab_; ++id) {
    if (!tokenizer_->token_of(id)) {
      continue;
    }
    const std::string text = tokenizer_->decode(std::span(&id, 1), /*skip_special=*/false);
    add(text, id);
    if (cleaned_up_) {
      add(without_blanks(text), id);
    }
  }
}

void TokenIds::add(const std::string& text, std::int32_t id) {
  const auto [place, is_new] = by_text_.emplace(text, Meant{id, std::nullopt});
  if (!is_new && place->second.first != id && !place->second.second) {
    place->second.second = id;
  }
}

}  // namespace mg
