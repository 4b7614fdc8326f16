// The reading half of Bpe.
#include <algorithm>

#include "harness/io/tokenizer/bpe.h"
#include "harness/io/tokenizer/byte_alphabet.h"
#include "harness/io/tokenizer/unicode.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

constexpr std::int64_t kLargestId =
    (1 << 24) - 1;  // tables are indexed by id; real vocabularies end near 2^18

std::string fallback_name(unsigned byte) {
  static constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4U], kDigits[byte & 15U], '>'};
}

std::string optional_text(const Component& component, std::string_view key) {
  const Component member = component.get(key);
  return member.is_null() ? std::string() : member.as_string();
}

[[noreturn]] void bad_merge(const Component& where, std::string_view what, std::string_view merge) {
  throw Error({.code = "tokenizer.bad-merge",
               .what = std::string(what),
               .where = where.where(),
               .expected = {},
               .actual = std::string(merge),
               .hint = "the vocabulary and the merges are not of the same model"});
}

}  // namespace

Bpe Bpe::read(const Component& component, bool bytes) {
  // Files of 2020 leave the type out.
  if (component.has("type") && component.type() != "BPE") {
    component.unknown("model");
  }
  if (!component.has("type") && !component.has("merges")) {
    component.at("type").bad("a value");
  }
  const Component dropout = component.get("dropout");
  if (!dropout.is_null() && !(dropout.value().is_number() && dropout.value() == 0)) {
    dropout.bad("null: with dropout the same text has different ids every time");
  }
  Bpe bpe;
  bpe.bytes_ = bytes;
  const Component unknown = component.get("unk_token");
  if (!unknown.is_null()) {
    bpe.unknown_token_ = unknown.as_string();
    bpe.unknown_where_ = unknown.where();
  }
  bpe.fuse_unknown_ = component.flag_or("fuse_unk", false);
  bpe.byte_fallback_ = component.flag_or("byte_fallback", false);
  bpe.ignore_merges_ = component.flag_or("ignore_merges", false);
  bpe.prefix_ = optional_text(component, "continuing_subword_prefix");
  bpe.suffix_ = optional_text(component, "end_of_word_suffix");
  bpe.plain_ = bpe.prefix_.empty() && bpe.suffix_.empty();
  bpe.read_vocabulary(component.at("vocab"));
  bpe.prepare_fallback();
  bpe.prepare_bytes();
  bpe.read_merges(component.at("merges"));
  return bpe;
}

void Bpe::read_vocabulary(const Component& component) {
  if (!component.value().is_object()) {
    component.bad("an object of tokens and ids");
  }
  vocabulary_ = StringTable(component.value().size());
  ascii_symbols_.fill(-1);
  for (const auto& [token, value] : component.value().items()) {
    if (!value.is_number_integer() || value < 0 || value > kLargestId) {
      component.get(token).bad("an id from 0 to 16777215");
    }
    const auto id = value.get<std::int32_t>();
    vocabulary_.set(token, static_cast<std::uint32_t>(id));
    const auto index = static_cast<std::size_t>(id);
    if (index >= tokens_.size()) {
      tokens_.resize(index + 1);
      taken_.resize(index + 1, false);
    }
    tokens_[index] = token;
    taken_[index] = true;
    if (!token.empty()) {
      const CodePoint first = code_point_at(token, 0);
      if (first.bytes == token.size()) {
        if (first.value < 128) {
          ascii_symbols_[first.value] = id;
        } else {
          other_symbols_[first.value] = id;
        }
      }
    }
  }
}

void Bpe::prepare_fallback() {
  bool complete = byte_fallback_;
  for (unsigned byte = 0; byte < 256; ++byte) {
    byte_fallbacks_[byte] = id_of(fallback_name(byte)).value_or(-1);
    complete = complete && byte_fallbacks_[byte] >= 0;
  }
  complete_fallback_ = complete;
}

void Bpe::prepare_bytes() {
  if (!bytes_) {
    return;
  }
  all_bytes_ = plain_;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    byte_symbols_[byte] = symbol_of(byte_characters()[byte]);
    all_bytes_ = all_bytes_ && byte_symbols_[byte] >= 0;
  }
  if (ignore_merges_) {
    spelled_ = StringTable(tokens_.size());
    for (std::size_t id = 0; id < tokens_.size(); ++id) {
      const auto spelled = taken_[id] ? unspell_bytes(tokens_[id]) : std::nullopt;
      if (spelled) {
        spelled_.set(*spelled, static_cast<std::uint32_t>(id));
      }
    }
  }
}

void Bpe::read_merges(const Component& component) {
  if (!component.value().is_array()) {
    component.bad("a list of merges");
  }
  merges_ = BpeMerges(component.value().size());
  cuts_ = !bytes_ && plain_;
  std::uint32_t rank = 0;
  const bool pairs = !component.value().empty() && component.value().front().is_array();
  for (const auto& merge : component.value()) {
    if (pairs) {
      if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() ||
          !merge[1].is_string()) {
        bad_merge(component, "merge " + std::to_string(rank) + " is not a pair of texts", "");
      }
      add_merge(component, merge[0].get_ref<const std::string&>(),
                merge[1].get_ref<const std::string&>(), rank++);
      continue;
    }
    if (!merge.is_string()) {
      bad_merge(component, "merge " + std::to_string(rank) + " is not a text", "");
    }
    const std::string_view line = merge.get_ref<const std::string&>();
    if (line.starts_with("#version")) {
      continue;
    }
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
      bad_merge(component, "merge " + std::to_string(rank) + " is not two tokens and a space",
                line);
    }
    add_merge(component, line.substr(0, space), line.substr(space + 1), rank++);
  }
}

void Bpe::add_merge(const Component& where, std::string_view left, std::string_view right,
                    std::uint32_t rank) {
  const auto left_id = id_of(left);
  const auto right_id = id_of(right);
  const std::string pair = std::string(left) + " " + std::string(right);
  if (!left_id || !right_id || right.size() < prefix_.size()) {
    bad_merge(where, "a merge joins tokens that are not in the vocabulary", pair);
  }
  const auto merged = id_of(std::string(left) + std::string(right.substr(prefix_.size())));
  if (!merged) {
    bad_merge(where, "a merge makes a token that is not in the vocabulary", pair);
  }
  merges_.add(*left_id, *right_id, rank, *merged);
  if (!cuts_ || left.empty() || right.empty()) {
    cuts_ = false;
    return;
  }
  // Fallback bytes and the unknown token stand for other characters than they are spelled with.
  const auto is_stand_in = [this](std::string_view token) {
    return token == unknown_token_ || (byte_fallback_ && token.size() == 6 &&
                                       token.starts_with("<0x") && token.ends_with('>'));
  };
  if (is_stand_in(left) || is_stand_in(right)) {
    cuts_ = false;
    return;
  }
  const char32_t before = code_point_before(left, left.size()).value;
  const char32_t after = code_point_at(right, 0).value;
  if (before < 128 && after < 128) {
    ascii_joins_[before][after] = true;
  } else {
    other_joins_.insert((static_cast<std::uint64_t>(before) << 32U) | after);
  }
}

}  // namespace mg
