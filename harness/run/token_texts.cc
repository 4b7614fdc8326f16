#include "harness/run/token_texts.h"

#include <algorithm>
#include <span>

namespace mg {
namespace {

constexpr std::int64_t kContextTokens = 24;

std::string text_of(const Tokenizer& tokenizer, std::span<const std::int32_t> ids) {
  return tokenizer.decode(ids, /*skip_special=*/false);
}

std::string text_of(const Tokenizer& tokenizer, std::int64_t id) {
  const auto one = static_cast<std::int32_t>(id);
  return text_of(tokenizer, std::span(&one, 1));
}

}  // namespace

void add_token_texts(const Tokenizer& tokenizer, const Batch& batch, Comparison& comparison) {
  for (Evidence& card : comparison.evidence) {
    const auto prompt =
        std::find_if(batch.prompts.begin(), batch.prompts.end(),
                     [&](const BatchPrompt& known) { return known.id == card.prompt; });
    if (prompt != batch.prompts.end()) {
      // Row t of the logits has read token t.
      const std::int64_t end = std::min(card.position + 1, prompt->length);
      const std::int64_t begin = std::max<std::int64_t>(end - kContextTokens, 0);
      card.context = text_of(
          tokenizer, std::span(batch.ids).subspan(static_cast<std::size_t>(prompt->begin + begin),
                                                  static_cast<std::size_t>(end - begin)));
    }
    if (card.target_id) {
      card.target = text_of(tokenizer, *card.target_id);
    }
    for (LaneTop& lane : card.top) {
      for (TopToken& token : lane.tokens) {
        token.text = text_of(tokenizer, token.id);
      }
    }
  }
}

}  // namespace mg
