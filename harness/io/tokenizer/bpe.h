// The "model" of tokenizer.json, type BPE: a vocabulary, merges, and what happens to characters
// outside of it. Options: unk_token, fuse_unk, byte_fallback, ignore_merges,
// continuing_subword_prefix, end_of_word_suffix.  Refused: dropout (ids would be random) and other
// model types.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "harness/io/tokenizer/bpe_merges.h"
#include "harness/io/tokenizer/component.h"
#include "harness/io/tokenizer/string_table.h"

namespace mg {

class Bpe {
 public:
  /// Reads the member "model".  `bytes`: words arrive as raw bytes and the vocabulary spells them
  /// (byte_alphabet.h). Throws Error "tokenizer.unknown-component", "tokenizer.bad-component",
  /// "tokenizer.bad-merge".
  static Bpe read(const Component& component, bool bytes);

  /// Entries of the vocabulary; ids may have gaps.
  std::size_t size() const { return vocabulary_.size(); }
  /// The largest id plus one.
  std::int32_t id_limit() const { return static_cast<std::int32_t>(tokens_.size()); }
  std::optional<std::int32_t> id_of(std::string_view token) const;
  /// The token with this id, or nothing.
  std::optional<std::string_view> token_of(std::int32_t id) const;

  struct Scratch {
    std::vector<Symbol> word;
    BpeMerges::Scratch merges;
    // Words seen before: where their symbols begin in `cached`, after a header that counts them.
    StringTable seen;
    std::vector<Symbol> cached;
  };

  /// Appends the tokens of one piece.  Symbol::bytes counts bytes of `piece`.
  void encode(std::string_view piece, Scratch& scratch, std::vector<Symbol>& out) const;

 private:
  Bpe() : merges_(0) {}
  void read_vocabulary(const Component& component);
  void read_merges(const Component& component);
  void add_merge(const Component& where, std::string_view left, std::string_view right,
                 std::uint32_t rank);
  void prepare_bytes();
  void prepare_fallback();

  void encode_word(std::string_view word, Scratch& scratch, std::vector<Symbol>& out) const;
  void merge_word(std::string_view word, Scratch& scratch) const;
  void split_word(std::string_view word, std::vector<Symbol>& symbols) const;
  void split_bytes(std::string_view word, std::vector<Symbol>& symbols) const;
  bool joins(char32_t left, char32_t right) const;
  bool is_safe_cut(char32_t left, char32_t right) const;
  std::int32_t symbol_of(char32_t c) const;

  bool bytes_ = false;
  StringTable vocabulary_;
  StringTable spelled_;  // bytes_ and ignore_merges_: the vocabulary by the bytes it spells
  std::vector<std::string> tokens_;  // by id
  std::vector<bool> taken_;          // ids in use
  BpeMerges merges_;
  std::array<std::int32_t, 256> byte_symbols_{};    // bytes_: the id of each byte, -1
  std::array<std::int32_t, 256> byte_fallbacks_{};  // the id of <0x00>..<0xFF>, -1
  std::array<std::int32_t, 128> ascii_symbols_{};
  std::unordered_map<char32_t, std::int32_t> other_symbols_;
  bool plain_ = true;       // no prefix, no suffix
  bool all_bytes_ = false;  // bytes_, plain_, and every byte has an id
  std::optional<std::string> unknown_token_;
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool complete_fallback_ = false;
  bool ignore_merges_ = false;
  std::string prefix_;
  std::string suffix_;
  std::string unknown_where_;

  // Long pieces (there may be no pre-tokenizer at all) are cut where no merge can join the
  // characters on both sides: the words then fit the cache, and the result is the same.
  bool cuts_ = false;
  std::array<std::array<bool, 128>, 128> ascii_joins_{};
  std::unordered_set<std::uint64_t> other_joins_;
};

}  // namespace mg
