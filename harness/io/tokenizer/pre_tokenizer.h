// The "pre_tokenizer" of tokenizer.json: where a text is cut before the model sees it.
// Known: ByteLevel, Split, Digits, Metaspace, Whitespace, WhitespaceSplit, Punctuation, Sequence.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "harness/io/tokenizer/aligned_text.h"
#include "harness/io/tokenizer/component.h"
#include "harness/io/tokenizer/pattern.h"
#include "harness/io/tokenizer/split_behavior.h"

namespace mg {

struct SplitStep {
  Pattern pattern;
  SplitBehavior behavior;
  bool inverted;
};
/// Cuts at single characters of a class.
struct CharacterStep {
  bool (*matches)(char32_t);
  SplitBehavior behavior;
};
struct WhitespaceStep {};  // runs of word characters, runs of other characters; white space goes
struct MetaspaceStep {
  enum class Prepend { kAlways, kFirst, kNever };
  std::string replacement;  // one character, for each space
  Prepend prepend;
  bool split;
};
struct PrefixSpaceStep {};  // ByteLevel's add_prefix_space
struct SpellBytesStep {};   // ByteLevel's characters for bytes

using PreTokenizerStep = std::variant<SplitStep, CharacterStep, WhitespaceStep, MetaspaceStep,
                                      PrefixSpaceStep, SpellBytesStep>;

class PreTokenizer {
 public:
  /// Reads the member "pre_tokenizer" (null: none).  Throws Error "tokenizer.unknown-component" and
  /// as Pattern::read.
  static PreTokenizer read(const Component& component);

  /// Cuts the pieces of `tokens` that have no id.
  void apply(PreTokens& tokens, RegexScratch& scratch) const;

  /// Whether the pieces are to be spelled byte by byte (byte_alphabet.h).  Left to the model, which
  /// looks bytes up by themselves, unless another step follows: then the text is rewritten here.
  bool leaves_bytes_unspelled() const { return bytes_unspelled_; }
  /// Whether a step asks where in the user's text a piece began although the text may have changed
  /// before.
  bool needs_origins(bool normalized) const;

 private:
  void add(const Component& component, int depth);
  void add_byte_level(const Component& component);
  void add_metaspace(const Component& component);

  std::vector<PreTokenizerStep> steps_;  // sequences flattened
  bool bytes_unspelled_ = false;
};

}  // namespace mg
