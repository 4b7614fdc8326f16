// The "added_tokens" of tokenizer.json: texts that are one token wherever they stand, found before
// the model looks.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "harness/io/tokenizer/aligned_text.h"
#include "harness/io/tokenizer/bpe.h"
#include "harness/io/tokenizer/component.h"
#include "harness/io/tokenizer/normalizer.h"

namespace mg {

struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;
  bool normalized = false;  // looked for after normalisation, in its own normalised form
  bool special = false;     // left out when decoding without special tokens
  std::string pattern;      // what is looked for
};

/// Finds the leftmost of several texts, the longest where several begin at one place.
class TextFinder {
 public:
  /// Returns false when the text is there already.
  bool add(std::string_view text, std::size_t value);
  bool empty() const { return nodes_.size() == 1; }

  struct Match {
    std::size_t begin;
    std::size_t end;
    std::size_t value;
  };
  std::optional<Match> find(std::string_view text, std::size_t from) const;

 private:
  struct Node {
    std::map<unsigned char, std::size_t> children;
    std::optional<std::size_t> value;
  };
  std::vector<Node> nodes_ = std::vector<Node>(1);  // a trie; 0 is the root
  std::array<bool, 256> starts_{};                  // the root's children, for a fast "no"
};

class AddedTokens {
 public:
  /// Reads the member "added_tokens" (may be missing).  A token of the vocabulary keeps its id,
  /// another gets the next free one; where the file says otherwise the reference warns and does
  /// that too (warnings()). Throws Error "tokenizer.bad-component",
  /// "tokenizer.duplicate-added-token".
  static AddedTokens read(const Component& component, const Bpe& model,
                          const Normalizer& normalizer);

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  const AddedToken* find(std::int32_t id) const;
  const AddedToken* find(std::string_view content) const;

  /// Cuts the open pieces of `text` at the tokens found in them.
  void cut(PreTokens& text, bool normalized) const;

 private:
  void add(AddedToken token);
  void build_finders(const Component& where);
  void cut_piece(std::string_view text, const Piece& piece, const TextFinder& finder,
                 std::vector<Piece>& out) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::int32_t, std::size_t> by_id_;
  std::unordered_map<std::string, std::size_t> by_content_;
  std::vector<std::string> warnings_;
  TextFinder raw_;
  TextFinder normalized_;
};

}  // namespace mg
