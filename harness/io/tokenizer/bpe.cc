#include "harness/io/tokenizer/bpe.h"

#include <algorithm>

#include "harness/io/tokenizer/byte_alphabet.h"
#include "harness/io/tokenizer/unicode.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

constexpr std::size_t kLongestCached = 256;      // bytes of a word
constexpr std::size_t kCachedWords = 1U << 17U;  // then the cache starts anew
constexpr std::size_t kCachedSymbols = 1U << 21U;

std::uint64_t char_pair(char32_t left, char32_t right) {
  return (static_cast<std::uint64_t>(left) << 32U) | right;
}

}  // namespace

std::optional<std::int32_t> Bpe::id_of(std::string_view token) const {
  const auto id = vocabulary_.find(token);
  return id ? std::optional<std::int32_t>(static_cast<std::int32_t>(*id)) : std::nullopt;
}

std::optional<std::string_view> Bpe::token_of(std::int32_t id) const {
  const auto index = static_cast<std::size_t>(id);
  if (id < 0 || index >= tokens_.size() || !taken_[index]) {
    return std::nullopt;
  }
  return tokens_[index];
}

std::int32_t Bpe::symbol_of(char32_t c) const {
  if (c < 128) {
    return ascii_symbols_[c];
  }
  const auto found = other_symbols_.find(c);
  return found == other_symbols_.end() ? -1 : found->second;
}

bool Bpe::joins(char32_t left, char32_t right) const {
  if (left < 128 && right < 128) {
    return ascii_joins_[left][right];
  }
  return other_joins_.contains(char_pair(left, right));
}

// Next to a character without an id, a neighbour's neighbour may come to touch (it is dropped) or
// unknown ones fuse.
bool Bpe::is_safe_cut(char32_t left, char32_t right) const {
  return !joins(left, right) &&
         (complete_fallback_ || (symbol_of(left) >= 0 && symbol_of(right) >= 0));
}

void Bpe::encode(std::string_view piece, Scratch& scratch, std::vector<Symbol>& out) const {
  if (piece.empty()) {
    return;
  }
  if (ignore_merges_) {
    const auto id = bytes_ ? spelled_.find(piece) : vocabulary_.find(piece);
    if (id) {
      out.push_back({static_cast<std::int32_t>(*id), static_cast<std::uint32_t>(piece.size())});
      return;
    }
  }
  if (!cuts_) {
    encode_word(piece, scratch, out);
    return;
  }
  std::size_t begin = 0;
  CodePoint left = code_point_at(piece, 0);
  for (std::size_t at = left.bytes; at < piece.size();) {
    const CodePoint right = code_point_at(piece, at);
    if (is_safe_cut(left.value, right.value)) {
      encode_word(piece.substr(begin, at - begin), scratch, out);
      begin = at;
    }
    at += right.bytes;
    left = right;
  }
  encode_word(piece.substr(begin), scratch, out);
}

void Bpe::encode_word(std::string_view word, Scratch& scratch, std::vector<Symbol>& out) const {
  if (word.size() > kLongestCached) {
    merge_word(word, scratch);
    out.insert(out.end(), scratch.word.begin(), scratch.word.end());
    return;
  }
  if (const auto at = scratch.seen.find(word)) {
    const auto* header = scratch.cached.data() + *at;
    out.insert(out.end(), header + 1, header + 1 + header->bytes);
    return;
  }
  merge_word(word, scratch);
  out.insert(out.end(), scratch.word.begin(), scratch.word.end());
  if (scratch.seen.size() >= kCachedWords || scratch.cached.size() >= kCachedSymbols) {
    scratch.seen.clear();
    scratch.cached.clear();
  }
  scratch.seen.set(word, static_cast<std::uint32_t>(scratch.cached.size()));
  scratch.cached.push_back({0, static_cast<std::uint32_t>(scratch.word.size())});
  scratch.cached.insert(scratch.cached.end(), scratch.word.begin(), scratch.word.end());
}

void Bpe::merge_word(std::string_view word, Scratch& scratch) const {
  scratch.word.clear();
  if (all_bytes_) {
    for (const char byte : word) {
      scratch.word.push_back({byte_symbols_[static_cast<unsigned char>(byte)], 1});
    }
  } else if (bytes_) {
    split_bytes(word, scratch.word);
  } else {
    split_word(word, scratch.word);
  }
  merges_.apply(scratch.word, scratch.merges);
}

namespace {

// Collects the symbols of a word character by character, with the reference's treatment of unknown
// ones: fallback bytes go in at once, an unknown token when the next known character or the end
// comes.
class SymbolCollector {
 public:
  SymbolCollector(std::vector<Symbol>& out, bool fuse) : out_(out), fuse_(fuse) {}

  void known(std::int32_t id, std::uint32_t bytes) {
    flush();
    out_.push_back({id, bytes});
  }
  void fallback(std::int32_t id, std::uint32_t bytes) { out_.push_back({id, bytes}); }
  void unknown(std::int32_t id, std::uint32_t bytes) {
    if (pending_ && fuse_) {
      pending_->bytes += bytes;
      return;
    }
    flush();
    pending_ = Symbol{id, bytes};
  }
  void flush() {
    if (pending_) {
      out_.push_back(*pending_);
      pending_.reset();
    }
  }

 private:
  std::vector<Symbol>& out_;
  bool fuse_;
  std::optional<Symbol> pending_;
};

}  // namespace

void Bpe::split_word(std::string_view word, std::vector<Symbol>& symbols) const {
  SymbolCollector collector(symbols, fuse_unknown_);
  std::string spelled;
  for (std::size_t at = 0; at < word.size();) {
    const CodePoint c = code_point_at(word, at);
    const auto bytes = static_cast<std::uint32_t>(c.bytes);
    std::string_view text = word.substr(at, c.bytes);
    std::int32_t id = -1;
    if (plain_) {
      id = symbol_of(c.value);
    } else {
      spelled = (at == 0 ? "" : prefix_) + std::string(text) +
                (at + c.bytes == word.size() ? suffix_ : "");
      text = spelled;
      id = id_of(text).value_or(-1);
    }
    at += c.bytes;
    if (id >= 0) {
      collector.known(id, bytes);
      continue;
    }
    const auto fallback = [this](char byte) {
      return byte_fallbacks_[static_cast<unsigned char>(byte)];
    };
    if (byte_fallback_ &&
        std::all_of(text.begin(), text.end(), [&](char byte) { return fallback(byte) >= 0; })) {
      // The bytes of one character are counted as one each; a prefix' or suffix' bytes count
      // nothing.
      for (std::size_t i = 0; i < text.size(); ++i) {
        collector.fallback(fallback(text[i]), 1);
      }
    } else if (unknown_token_) {
      const auto unknown = id_of(*unknown_token_);
      if (!unknown) {
        throw Error({.code = "tokenizer.unknown-token-missing",
                     .what = "a text has a character outside of the vocabulary, and the unknown "
                             "token is not in the vocabulary either",
                     .where = unknown_where_,
                     .expected = {},
                     .actual = *unknown_token_,
                     .hint = {}});
      }
      collector.unknown(*unknown, bytes);
    }
  }
  collector.flush();
}

// The general way for byte-level words: spell them, then count each character as the one byte it
// stands for.
void Bpe::split_bytes(std::string_view word, std::vector<Symbol>& symbols) const {
  const std::string spelled = spell_bytes(word);
  std::vector<Symbol> spelled_symbols;
  split_word(spelled, spelled_symbols);
  for (Symbol symbol : spelled_symbols) {
    // Unknown and fallback symbols keep what they counted; only spans of such tokens are coarse.
    symbol.bytes = std::max<std::uint32_t>(1, symbol.bytes / 2);
    symbols.push_back(symbol);
  }
}

}  // namespace mg
