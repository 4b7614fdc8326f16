#include "harness/io/tokenizer/pre_tokenizer.h"

#include "harness/io/tokenizer/byte_alphabet.h"
#include "harness/io/tokenizer/unicode.h"

namespace mg {
namespace {

constexpr int kMaxPreTokenizers = 32;

// GPT-2's expression (encoder.py), which ByteLevel uses unless told not to.
constexpr std::string_view kGpt2Expression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Replaces every open piece by the parts that `cut(text, parts)` finds in it.
template <typename Cut>
void cut_pieces(PreTokens& tokens, Cut cut) {
  std::vector<Piece> pieces;
  std::vector<TextRange> parts;
  const std::string_view text = tokens.text.text();
  for (const Piece& piece : tokens.pieces) {
    if (piece.id >= 0) {
      pieces.push_back(piece);
      continue;
    }
    parts.clear();
    cut(text.substr(piece.begin, piece.end - piece.begin), parts);
    for (const TextRange& part : parts) {
      pieces.push_back({piece.begin + part.begin, piece.begin + part.end, -1});
    }
  }
  tokens.pieces = std::move(pieces);
}

// Rewrites the text of every open piece by `write(piece, rewrite)`.
template <typename Write>
void rewrite_pieces(PreTokens& tokens, Write write) {
  TextRewrite rewrite(tokens.text);
  for (Piece& piece : tokens.pieces) {
    const std::size_t begin = rewrite.size();
    if (piece.id >= 0) {
      rewrite.keep(piece.begin, piece.end);
    } else {
      write(piece, rewrite);
    }
    piece.begin = begin;
    piece.end = rewrite.size();
  }
  rewrite.commit();
}

void run(const SplitStep& step, PreTokens& tokens, RegexScratch& scratch) {
  std::vector<TextRange> matches;
  cut_pieces(tokens, [&](std::string_view text, std::vector<TextRange>& parts) {
    matches.clear();
    step.pattern.find_all(text, scratch, matches);
    split_at(matches, text.size(), step.behavior, step.inverted, parts);
  });
}

void run(const CharacterStep& step, PreTokens& tokens, RegexScratch&) {
  std::vector<TextRange> matches;
  cut_pieces(tokens, [&](std::string_view text, std::vector<TextRange>& parts) {
    matches.clear();
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint c = code_point_at(text, at);
      if (step.matches(c.value)) {
        matches.push_back({at, at + c.bytes});
      }
      at += c.bytes;
    }
    split_at(matches, text.size(), step.behavior, false, parts);
  });
}

void run(WhitespaceStep, PreTokens& tokens, RegexScratch&) {
  enum class Kind { kSpace, kWord, kOther };
  cut_pieces(tokens, [](std::string_view text, std::vector<TextRange>& parts) {
    Kind last = Kind::kSpace;
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint c = code_point_at(text, at);
      const Kind kind = is_word(c.value)         ? Kind::kWord
                        : is_whitespace(c.value) ? Kind::kSpace
                                                 : Kind::kOther;
      if (kind != Kind::kSpace && kind == last) {
        parts.back().end += c.bytes;
      } else if (kind != Kind::kSpace) {
        parts.push_back({at, at + c.bytes});
      }
      last = kind;
      at += c.bytes;
    }
  });
}

void run(const MetaspaceStep& step, PreTokens& tokens, RegexScratch&) {
  const std::string source = tokens.text.text();
  const std::string& mark = step.replacement;
  rewrite_pieces(tokens, [&](const Piece& piece, TextRewrite& rewrite) {
    const std::string_view text = std::string_view(source).substr(piece.begin);
    const bool marked = text.starts_with(' ') || text.starts_with(mark);
    const bool first = tokens.text.origin(piece.begin, piece.end).begin == 0;
    if (!marked && (step.prepend == MetaspaceStep::Prepend::kAlways ||
                    (step.prepend == MetaspaceStep::Prepend::kFirst && first))) {
      rewrite.replace(piece.begin, piece.begin, mark);
    }
    std::size_t kept = piece.begin;
    for (std::size_t at = kept; at < piece.end; ++at) {
      if (source[at] == ' ') {
        rewrite.keep(kept, at);
        rewrite.replace(at, at + 1, mark);
        kept = at + 1;
      }
    }
    rewrite.keep(kept, piece.end);
  });
  if (!step.split) {
    return;
  }
  std::vector<TextRange> matches;
  cut_pieces(tokens, [&](std::string_view text, std::vector<TextRange>& parts) {
    matches.clear();
    for (std::size_t at = text.find(mark); at != std::string_view::npos;
         at = text.find(mark, at + mark.size())) {
      matches.push_back({at, at + mark.size()});
    }
    split_at(matches, text.size(), SplitBehavior::kMergedWithNext, false, parts);
  });
}

void run(PrefixSpaceStep, PreTokens& tokens, RegexScratch&) {
  const std::string source = tokens.text.text();
  rewrite_pieces(tokens, [&](const Piece& piece, TextRewrite& rewrite) {
    if (source[piece.begin] != ' ') {
      rewrite.replace(piece.begin, piece.begin, " ");
    }
    rewrite.keep(piece.begin, piece.end);
  });
}

void run(SpellBytesStep, PreTokens& tokens, RegexScratch&) {
  const std::string source = tokens.text.text();
  rewrite_pieces(tokens, [&](const Piece& piece, TextRewrite& rewrite) {
    for (std::size_t at = piece.begin; at < piece.end; ++at) {
      rewrite.replace(at, at + 1, spell_bytes(std::string_view(source).substr(at, 1)));
    }
  });
}

}  // namespace

PreTokenizer PreTokenizer::read(const Component& component) {
  PreTokenizer result;
  if (!component.is_null()) {
    result.add(component, 0);
  }
  if (!result.steps_.empty() && std::holds_alternative<SpellBytesStep>(result.steps_.back())) {
    result.steps_.pop_back();
    result.bytes_unspelled_ = true;
  }
  return result;
}

void PreTokenizer::add(const Component& component, int depth) {
  const std::string type = component.type();
  if (depth > kMaxPreTokenizers) {
    component.bad("fewer nested sequences");
  }
  if (type == "Sequence") {
    for (const Component& item : component.at("pretokenizers").items()) {
      add(item, depth + 1);
    }
  } else if (type == "ByteLevel") {
    add_byte_level(component);
  } else if (type == "Split") {
    steps_.emplace_back(SplitStep{Pattern::read(component.at("pattern")),
                                  read_split_behavior(component), component.flag("invert")});
  } else if (type == "Digits") {
    steps_.emplace_back(CharacterStep{is_numeric, component.flag("individual_digits")
                                                      ? SplitBehavior::kIsolated
                                                      : SplitBehavior::kContiguous});
  } else if (type == "Metaspace") {
    add_metaspace(component);
  } else if (type == "Whitespace") {
    steps_.emplace_back(WhitespaceStep{});
  } else if (type == "WhitespaceSplit") {
    steps_.emplace_back(CharacterStep{is_whitespace, SplitBehavior::kRemoved});
  } else if (type == "Punctuation") {
    steps_.emplace_back(CharacterStep{is_punctuation, component.has("behavior")
                                                          ? read_split_behavior(component)
                                                          : SplitBehavior::kIsolated});
  } else {
    component.unknown("pre-tokenizer");
  }
}

void PreTokenizer::add_byte_level(const Component& component) {
  if (component.flag("add_prefix_space")) {
    steps_.emplace_back(PrefixSpaceStep{});
  }
  if (component.flag_or("use_regex", true)) {
    steps_.emplace_back(SplitStep{Pattern(Regex(kGpt2Expression, component.where())),
                                  SplitBehavior::kIsolated, false});
  }
  steps_.emplace_back(SpellBytesStep{});
}

void PreTokenizer::add_metaspace(const Component& component) {
  MetaspaceStep step{to_utf8(component.character("replacement")), MetaspaceStep::Prepend::kAlways,
                     component.flag_or("split", true)};
  if (component.has("prepend_scheme")) {
    const std::string scheme = component.text("prepend_scheme");
    if (scheme == "first") {
      step.prepend = MetaspaceStep::Prepend::kFirst;
    } else if (scheme == "never") {
      step.prepend = MetaspaceStep::Prepend::kNever;
    } else if (scheme != "always") {
      component.at("prepend_scheme").bad("always, first or never");
    }
  }
  // Files older than prepend_scheme say add_prefix_space; the reference refuses the two when they
  // disagree.
  if (!component.flag_or("add_prefix_space", true) &&
      step.prepend != MetaspaceStep::Prepend::kNever) {
    component.get("prepend_scheme").bad("\"never\" beside \"add_prefix_space\": false");
  }
  steps_.emplace_back(std::move(step));
}

bool PreTokenizer::needs_origins(bool normalized) const {
  bool changed = normalized;
  for (const PreTokenizerStep& step : steps_) {
    if (const auto* metaspace = std::get_if<MetaspaceStep>(&step)) {
      if (changed && metaspace->prepend == MetaspaceStep::Prepend::kFirst) {
        return true;
      }
      changed = true;
    }
    changed = changed || std::holds_alternative<PrefixSpaceStep>(step) ||
              std::holds_alternative<SpellBytesStep>(step);
  }
  return false;
}

void PreTokenizer::apply(PreTokens& tokens, RegexScratch& scratch) const {
  for (const PreTokenizerStep& step : steps_) {
    std::visit([&](const auto& known) { run(known, tokens, scratch); }, step);
  }
}

}  // namespace mg
