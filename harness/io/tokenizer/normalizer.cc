#include "harness/io/tokenizer/normalizer.h"

#include "harness/io/tokenizer/byte_alphabet.h"
#include "harness/io/tokenizer/unicode.h"

namespace mg {
namespace {

constexpr int kMaxNormalizers = 32;

void run(UnicodeForm form, AlignedText& text, RegexScratch&) {
  apply_form(text, form);
}

void run(const ReplaceNormalizer& step, AlignedText& text, RegexScratch& scratch) {
  std::vector<TextRange> matches;
  step.pattern.find_all(text.text(), scratch, matches);
  // An empty text has no matches in the reference, not even an empty one.
  if (matches.empty() || text.text().empty()) {
    return;
  }
  TextRewrite rewrite(text);
  std::size_t kept = 0;
  for (const TextRange& match : matches) {
    rewrite.keep(kept, match.begin);
    rewrite.replace(match.begin, match.end, step.content);
    kept = match.end;
  }
  rewrite.keep(kept, text.text().size());
  rewrite.commit();
}

void run(const PrependNormalizer& step, AlignedText& text, RegexScratch&) {
  if (text.text().empty()) {
    return;
  }
  TextRewrite rewrite(text);
  rewrite.replace(0, 0, step.prefix);
  rewrite.keep(0, text.text().size());
  rewrite.commit();
}

void run(const StripNormalizer& step, AlignedText& text, RegexScratch&) {
  const std::string& source = text.text();
  std::size_t begin = 0;
  std::size_t end = source.size();
  while (step.left && begin < end && is_whitespace(code_point_at(source, begin).value)) {
    begin += code_point_at(source, begin).bytes;
  }
  while (step.right && end > begin && is_whitespace(code_point_before(source, end).value)) {
    end -= code_point_before(source, end).bytes;
  }
  if (begin > 0 || end < source.size()) {
    TextRewrite rewrite(text);
    rewrite.keep(begin, end);
    rewrite.commit();
  }
}

void run(ByteLevelNormalizer, AlignedText& text, RegexScratch&) {
  TextRewrite rewrite(text);
  const std::string& source = text.text();
  for (std::size_t at = 0; at < source.size(); ++at) {
    rewrite.replace(at, at + 1, spell_bytes(std::string_view(source).substr(at, 1)));
  }
  rewrite.commit();
}

}  // namespace

Normalizer Normalizer::read(const Component& component) {
  Normalizer normalizer;
  if (!component.is_null()) {
    normalizer.add(component, 0);
  }
  return normalizer;
}

void Normalizer::add(const Component& component, int depth) {
  const std::string type = component.type();
  if (depth > kMaxNormalizers) {
    component.bad("fewer nested sequences");
  }
  if (type == "Sequence") {
    for (const Component& item : component.at("normalizers").items()) {
      add(item, depth + 1);
    }
  } else if (type == "NFC") {
    steps_.emplace_back(UnicodeForm::kNfc);
  } else if (type == "NFD") {
    steps_.emplace_back(UnicodeForm::kNfd);
  } else if (type == "NFKC") {
    steps_.emplace_back(UnicodeForm::kNfkc);
  } else if (type == "NFKD") {
    steps_.emplace_back(UnicodeForm::kNfkd);
  } else if (type == "Replace") {
    steps_.emplace_back(
        ReplaceNormalizer{Pattern::read(component.at("pattern")), component.text("content")});
  } else if (type == "Prepend") {
    steps_.emplace_back(PrependNormalizer{component.text("prepend")});
  } else if (type == "Strip") {
    steps_.emplace_back(
        StripNormalizer{component.flag("strip_left"), component.flag("strip_right")});
  } else if (type == "ByteLevel") {
    steps_.emplace_back(ByteLevelNormalizer{});
  } else {
    component.unknown("normalizer");
  }
}

void Normalizer::apply(AlignedText& text, RegexScratch& scratch) const {
  for (const NormalizerStep& step : steps_) {
    std::visit([&](const auto& known) { run(known, text, scratch); }, step);
  }
}

}  // namespace mg
