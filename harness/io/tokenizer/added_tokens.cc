#include "harness/io/tokenizer/added_tokens.h"

#include <algorithm>

#include "harness/io/tokenizer/unicode.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

AddedToken read_token(const Component& component) {
  AddedToken token;
  token.id = static_cast<std::int32_t>(component.at("id").as_integer());
  token.content = component.text("content");
  token.single_word = component.flag("single_word");
  token.lstrip = component.flag("lstrip");
  token.rstrip = component.flag("rstrip");
  token.normalized = component.flag("normalized");
  token.special = component.flag("special");
  token.pattern = token.content;
  return token;
}

}  // namespace

bool TextFinder::add(std::string_view text, std::size_t value) {
  std::size_t at = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const auto [child, added] = nodes_[at].children.try_emplace(byte, nodes_.size());
    at = child->second;
    if (added) {
      nodes_.emplace_back();
    }
  }
  if (nodes_[at].value || text.empty()) {
    return false;
  }
  nodes_[at].value = value;
  starts_[static_cast<unsigned char>(text.front())] = true;
  return true;
}

std::optional<TextFinder::Match> TextFinder::find(std::string_view text, std::size_t from) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<unsigned char>(text[begin])]) {
      continue;
    }
    std::optional<Match> longest;
    const Node* node = &nodes_[0];
    for (std::size_t at = begin; at < text.size(); ++at) {
      const auto child = node->children.find(static_cast<unsigned char>(text[at]));
      if (child == node->children.end()) {
        break;
      }
      node = &nodes_[child->second];
      if (node->value) {
        longest = {begin, at + 1, *node->value};
      }
    }
    if (longest) {
      return longest;
    }
  }
  return std::nullopt;
}

AddedTokens AddedTokens::read(const Component& component, const Bpe& model,
                              const Normalizer& normalizer) {
  AddedTokens result;
  if (component.is_null()) {
    return result;
  }
  auto next_id = static_cast<std::int32_t>(model.size());
  RegexScratch scratch;
  for (const Component& item : component.items()) {
    AddedToken token = read_token(item);
    if (token.content.empty()) {
      continue;
    }
    const std::int32_t declared = token.id;
    if (const AddedToken* known = result.find(token.content)) {
      token.id = known->id;
    } else if (const auto id = model.id_of(token.content)) {
      token.id = *id;
    } else {
      token.id = next_id++;
    }
    if (token.id != declared) {
      result.warnings_.push_back(item.where() + ": token \"" + token.content + "\" says id " +
                                 std::to_string(declared) + " and gets id " +
                                 std::to_string(token.id));
    }
    if (token.normalized) {
      AlignedText text(token.content, 0, false);
      normalizer.apply(text, scratch);
      token.pattern = text.text();
    }
    result.add(std::move(token));
  }
  result.build_finders(component);
  return result;
}

// The last of several entries for one text counts, but special stays special.
void AddedTokens::add(AddedToken token) {
  const auto known = by_content_.find(token.content);
  if (known != by_content_.end()) {
    token.special = token.special || tokens_[known->second].special;
    tokens_[known->second] = std::move(token);
    return;
  }
  by_content_.emplace(token.content, tokens_.size());
  by_id_.insert_or_assign(token.id, tokens_.size());
  tokens_.push_back(std::move(token));
}

void AddedTokens::build_finders(const Component& where) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    if (!(token.normalized ? normalized_ : raw_).add(token.pattern, i)) {
      throw Error({.code = "tokenizer.duplicate-added-token",
                   .what = "an added token is empty after normalisation, or the same as another",
                   .where = where.where(),
                   .expected = {},
                   .actual = token.content,
                   .hint = {}});
    }
  }
}

const AddedToken* AddedTokens::find(std::int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

void AddedTokens::cut(PreTokens& text, bool normalized) const {
  const TextFinder& finder = normalized ? normalized_ : raw_;
  if (finder.empty()) {
    return;
  }
  std::vector<Piece> pieces;
  for (const Piece& piece : text.pieces) {
    if (piece.id >= 0) {
      pieces.push_back(piece);
    } else {
      const auto whole = std::string_view(text.text.text());
      cut_piece(whole.substr(piece.begin, piece.end - piece.begin), piece, finder, pieces);
    }
  }
  text.pieces = std::move(pieces);
}

// As the reference goes about it: a token that fails its single_word test still uses up its text,
// white space taken by rstrip does not keep the next token from being found in it.
void AddedTokens::cut_piece(std::string_view text, const Piece& piece, const TextFinder& finder,
                            std::vector<Piece>& out) const {
  std::size_t open = 0;  // what follows is in no piece yet
  std::size_t from = 0;
  const auto emit = [&](std::size_t begin, std::size_t end, std::int32_t id) {
    if (begin < end) {
      out.push_back({piece.begin + begin, piece.begin + end, id});
    }
  };
  while (const auto match = finder.find(text, from)) {
    from = match->end;
    const AddedToken& token = tokens_[match->value];
    std::size_t begin = match->begin;
    std::size_t end = match->end;
    if (token.single_word && ((begin > 0 && is_word(code_point_before(text, begin).value)) ||
                              (end < text.size() && is_word(code_point_at(text, end).value)))) {
      continue;
    }
    while (token.lstrip && begin > open && is_whitespace(code_point_before(text, begin).value)) {
      begin -= code_point_before(text, begin).bytes;
    }
    while (token.rstrip && end < text.size() && is_whitespace(code_point_at(text, end).value)) {
      end += code_point_at(text, end).bytes;
    }
    if (open < begin) {
      emit(open, begin, -1);
    }
    emit(begin, end, token.id);
    open = end;
  }
  emit(open, text.size(), -1);
}

}  // namespace mg
