#include "harness/io/tokenizer/tokenizer.h"

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>

#include "harness/io/json_file.h"
#include "harness/io/tokenizer/bpe.h"
#include "harness/io/tokenizer/decoder.h"
#include "harness/io/tokenizer/normalizer.h"
#include "harness/io/tokenizer/post_processor.h"
#include "harness/io/tokenizer/pre_tokenizer.h"
#include "harness/io/tokenizer/unicode.h"
#include "kernels/core/error.h"

namespace mg {

struct Tokenizer::State {
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe model;
  AddedTokens added;
  TokenDecoder decoder;
  std::vector<std::optional<std::int32_t>> layout;

  // Working memory, one user at a time.
  std::mutex mutex;
  RegexScratch regex;
  Bpe::Scratch words;

  State(const Component& file, Bpe bpe, PreTokenizer cuts)
      : normalizer(Normalizer::read(file.get("normalizer"))),
        pre_tokenizer(std::move(cuts)),
        model(std::move(bpe)),
        added(AddedTokens::read(file.get("added_tokens"), model, normalizer)),
        decoder(TokenDecoder::read(file.get("decoder"))),
        layout(PostProcessor::read(file.get("post_processor")).layout()) {}

  void encode_text(std::string_view text, bool spans, TokenizedText& out);
  void encode_section(std::string_view text, std::size_t shift, bool spans, TokenizedText& out);
  void encode_pieces(const PreTokens& tokens, bool spans, TokenizedText& out);
};

namespace {

void check_version(const Component& file) {
  const Component version = file.get("version");
  if (!version.is_null() && version.as_string() != "1.0") {
    version.bad("\"1.0\"");
  }
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::open(const std::filesystem::path& path) {
  return parse(read_text(path), path.string());
}

Tokenizer Tokenizer::parse(std::string_view json, std::string_view file) {
  const nlohmann::json value = parse_json(json, file);
  const Component root(value, std::string(file), "");
  if (!value.is_object()) {
    root.bad("an object");
  }
  check_version(root);
  PreTokenizer cuts = PreTokenizer::read(root.get("pre_tokenizer"));
  Bpe model = Bpe::read(root.at("model"), cuts.leaves_bytes_unspelled());
  return Tokenizer(std::make_unique<State>(root, std::move(model), std::move(cuts)));
}

// Added tokens that are not normalised cut the text first; what lies between them is normalised
// section by section.
void Tokenizer::State::encode_text(std::string_view text, bool spans, TokenizedText& out) {
  PreTokens whole{AlignedText(text, 0, false), {{0, text.size(), -1}}};
  added.cut(whole, false);
  for (const Piece& piece : whole.pieces) {
    if (piece.id < 0) {
      encode_section(text.substr(piece.begin, piece.end - piece.begin), piece.begin, spans, out);
      continue;
    }
    out.ids.push_back(piece.id);
    if (spans) {
      out.spans.push_back({piece.begin, piece.end});
    }
  }
}

void Tokenizer::State::encode_section(std::string_view text, std::size_t shift, bool spans,
                                      TokenizedText& out) {
  const bool tracked = spans || pre_tokenizer.needs_origins(!normalizer.empty());
  PreTokens tokens{AlignedText(text, shift, tracked), {}};
  normalizer.apply(tokens.text, regex);
  if (tokens.text.text().empty()) {
    return;
  }
  tokens.pieces.push_back({0, tokens.text.text().size(), -1});
  added.cut(tokens, true);
  pre_tokenizer.apply(tokens, regex);
  encode_pieces(tokens, spans, out);
}

void Tokenizer::State::encode_pieces(const PreTokens& tokens, bool spans, TokenizedText& out) {
  const std::string_view text = tokens.text.text();
  std::vector<Symbol> symbols;
  for (const Piece& piece : tokens.pieces) {
    if (piece.id >= 0) {
      out.ids.push_back(piece.id);
      if (spans) {
        out.spans.push_back(tokens.text.origin(piece.begin, piece.end));
      }
      continue;
    }
    symbols.clear();
    model.encode(text.substr(piece.begin, piece.end - piece.begin), words, symbols);
    std::size_t begin = piece.begin;
    for (const Symbol& symbol : symbols) {
      out.ids.push_back(symbol.id);
      const std::size_t end = std::min(begin + symbol.bytes, piece.end);
      if (spans) {
        out.spans.push_back(tokens.text.origin(begin, end));
      }
      begin = end;
    }
  }
}

namespace {

void require_utf8(std::string_view text) {
  const std::size_t invalid = find_invalid_utf8(text);
  if (invalid != std::string_view::npos) {
    throw Error({.code = "tokenizer.invalid-utf8",
                 .what = "a text is not valid UTF-8 at byte " + std::to_string(invalid),
                 .where = {},
                 .expected = {},
                 .actual = {},
                 .hint = {}});
  }
  if (text.size() >= 0xFFFFFFFFU) {  // positions are kept in 32 bits
    throw Error({.code = "tokenizer.text-too-long",
                 .what = "a text is longer than a tokenizer call takes",
                 .where = {},
                 .expected = "below 4 GiB",
                 .actual = std::to_string(text.size()) + " bytes",
                 .hint = {}});
  }
}

// Puts special tokens around; added ones stand at the text's begin or end and cover nothing.
TokenizedText laid_out(TokenizedText own, const std::vector<std::optional<std::int32_t>>& layout,
                       std::size_t text_size) {
  TokenizedText out;
  bool behind = false;
  for (const auto& item : layout) {
    if (item) {
      const std::size_t at = behind ? text_size : 0;
      out.ids.push_back(*item);
      out.spans.push_back({at, at});
      continue;
    }
    out.ids.insert(out.ids.end(), own.ids.begin(), own.ids.end());
    out.spans.insert(out.spans.end(), own.spans.begin(), own.spans.end());
    behind = true;
  }
  return out;
}

}  // namespace

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  require_utf8(text);
  const std::lock_guard lock(state_->mutex);
  TokenizedText own;
  state_->encode_text(text, false, own);
  return add_special ? laid_out(std::move(own), state_->layout, text.size()).ids
                     : std::move(own.ids);
}

TokenizedText Tokenizer::encode_with_spans(std::string_view text, bool add_special) const {
  require_utf8(text);
  const std::lock_guard lock(state_->mutex);
  TokenizedText own;
  state_->encode_text(text, true, own);
  return add_special ? laid_out(std::move(own), state_->layout, text.size()) : own;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  for (const std::int32_t id : ids) {
    if (const AddedToken* added = state_->added.find(id)) {
      // The reference asks for special tokens by the text it would decode.
      const AddedToken* by_text = state_->added.find(added->pattern);
      if (!skip_special || by_text == nullptr || !by_text->special) {
        tokens.push_back(added->pattern);
      }
    } else if (const auto token = state_->model.token_of(id)) {
      tokens.emplace_back(*token);
    }
  }
  const std::lock_guard lock(state_->mutex);
  return state_->decoder.decode(std::move(tokens), state_->regex);
}

std::optional<std::string> Tokenizer::token_of(std::int32_t id) const {
  if (const AddedToken* added = state_->added.find(id)) {
    return added->content;
  }
  const auto token = state_->model.token_of(id);
  return token ? std::optional<std::string>(*token) : std::nullopt;
}

std::optional<std::int32_t> Tokenizer::id_of(std::string_view token) const {
  if (const AddedToken* added = state_->added.find(token)) {
    return added->id;
  }
  return state_->model.id_of(token);
}

bool Tokenizer::is_special(std::int32_t id) const {
  const AddedToken* added = state_->added.find(id);
  return added != nullptr && added->special;
}

const std::vector<AddedToken>& Tokenizer::added_tokens() const {
  return state_->added.tokens();
}

std::int32_t Tokenizer::id_limit() const {
  std::int32_t limit = state_->model.id_limit();
  for (const AddedToken& token : added_tokens()) {
    limit = std::max(limit, token.id + 1);
  }
  return limit;
}

std::vector<std::optional<std::int32_t>> Tokenizer::layout() const {
  return state_->layout;
}

void Tokenizer::set_layout(std::vector<std::optional<std::int32_t>> layout) {
  state_->layout = std::move(layout);
}

const std::vector<std::string>& Tokenizer::warnings() const {
  return state_->added.warnings();
}

}  // namespace mg
