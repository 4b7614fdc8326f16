// A text on its way through normalisers and pre-tokenizers, with where each byte came from in the
// user's text. Origins cost eight bytes a byte, so they are kept only where someone asks for token
// spans.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/io/tokenizer/regex.h"

namespace mg {

class AlignedText {
 public:
  /// `text` begins at byte `shift` of the user's text.
  AlignedText(std::string_view text, std::size_t shift, bool tracked)
      : text_(text), shift_(shift), tracked_(tracked) {}

  const std::string& text() const { return text_; }

  /// Where bytes [begin, end) came from.  Exact while nothing changed the text; afterwards exact
  /// only when tracked.
  TextRange origin(std::size_t begin, std::size_t end) const {
    if (origins_.empty()) {
      return {shift_ + begin, shift_ + end};
    }
    if (begin >= end) {
      const std::size_t at =
          begin < origins_.size() ? origins_[begin].first : origins_.back().second;
      return {at, at};
    }
    return {origins_[begin].first, origins_[end - 1].second};
  }

 private:
  friend class TextRewrite;
  using Origin = std::pair<std::uint32_t, std::uint32_t>;

  std::string text_;
  std::size_t shift_;
  bool tracked_;
  std::vector<Origin>
      origins_;  // one for each byte; empty while the text is unchanged or untracked
};

/// Builds the next version of a text from left to right; commit() puts it in place.
class TextRewrite {
 public:
  explicit TextRewrite(AlignedText& target) : target_(target) {}

  /// Takes over bytes [begin, end) as they are.
  void keep(std::size_t begin, std::size_t end);
  /// Puts `content` where [begin, end) was.
  void replace(std::size_t begin, std::size_t end, std::string_view content);

  std::size_t size() const { return text_.size(); }
  void commit();

 private:
  AlignedText& target_;
  std::string text_;
  std::vector<AlignedText::Origin> origins_;
};

/// A part of a text: between two boundaries, or an added token that has its id already.
struct Piece {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::int32_t id = -1;  // -1: not tokenised yet
};

/// A text and the pieces it is cut into, in order.
struct PreTokens {
  AlignedText text;
  std::vector<Piece> pieces;
};

}  // namespace mg
