#include "harness/io/tokenizer/decoder.h"

#include <optional>
#include <utility>

#include "harness/io/tokenizer/byte_alphabet.h"
#include "harness/io/tokenizer/unicode.h"

namespace mg {
namespace {

constexpr int kMaxDecoders = 32;
using Tokens = std::vector<std::string>;

std::string joined(const Tokens& tokens) {
  std::string out;
  for (const std::string& token : tokens) {
    out += token;
  }
  return out;
}

void run(ByteLevelDecoder, Tokens& tokens, RegexScratch&) {
  std::string bytes;
  for (const std::string& token : tokens) {
    // A token with one foreign character is taken as it is, whole.
    bytes += unspell_bytes(token).value_or(token);
  }
  tokens = {utf8_lossy(bytes)};
}

std::optional<char> fallback_byte(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') {
    return std::nullopt;
  }
  int value = 0;
  for (std::size_t i = 3; i < 5; ++i) {
    const char c = token[i];
    const bool letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    // Rust's parser takes a leading plus sign.
    if (c == '+' && i == 3) {
      continue;
    }
    if (!(c >= '0' && c <= '9') && !letter) {
      return std::nullopt;
    }
    value = value * 16 + (letter ? (c | 0x20) - 'a' + 10 : c - '0');
  }
  return static_cast<char>(value);
}

void run(ByteFallbackDecoder, Tokens& tokens, RegexScratch&) {
  Tokens out;
  std::string bytes;
  const auto flush = [&] {
    if (find_invalid_utf8(bytes) == std::string::npos) {
      if (!bytes.empty()) {
        out.push_back(bytes);
      }
    } else {
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const auto byte = fallback_byte(token)) {
      bytes.push_back(*byte);
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  tokens = std::move(out);
}

void run(FuseDecoder, Tokens& tokens, RegexScratch&) {
  tokens = {joined(tokens)};
}

void run(const ReplaceDecoder& step, Tokens& tokens, RegexScratch& scratch) {
  std::vector<TextRange> matches;
  for (std::string& token : tokens) {
    matches.clear();
    step.pattern.find_all(token, scratch, matches);
    if (matches.empty() || token.empty()) {
      continue;
    }
    std::string out;
    std::size_t kept = 0;
    for (const TextRange& match : matches) {
      out.append(token, kept, match.begin - kept);
      out += step.content;
      kept = match.end;
    }
    out.append(token, kept);
    token = std::move(out);
  }
}

void run(const StripDecoder& step, Tokens& tokens, RegexScratch&) {
  const std::size_t width = step.content.size();
  for (std::string& token : tokens) {
    std::size_t begin = 0;
    for (std::int64_t i = 0; i < step.start && token.compare(begin, width, step.content) == 0;
         ++i) {
      begin += width;
    }
    std::size_t end = token.size();
    for (std::int64_t i = 0; i < step.stop && end >= begin + width &&
                             token.compare(end - width, width, step.content) == 0;
         ++i) {
      end -= width;
    }
    token = token.substr(begin, end - begin);
  }
}

void run(const MetaspaceDecoder& step, Tokens& tokens, RegexScratch&) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    std::string out;
    const std::string& token = tokens[i];
    std::size_t kept = 0;
    for (std::size_t at = token.find(step.replacement); at != std::string::npos;
         at = token.find(step.replacement, kept)) {
      out.append(token, kept, at - kept);
      out += i == 0 && step.drops_first ? "" : " ";
      kept = at + step.replacement.size();
    }
    tokens[i] = out + token.substr(kept);
  }
}

}  // namespace

TokenDecoder TokenDecoder::read(const Component& component) {
  TokenDecoder decoder;
  if (!component.is_null()) {
    decoder.present_ = true;
    decoder.add(component, 0);
  }
  return decoder;
}

void TokenDecoder::add(const Component& component, int depth) {
  const std::string type = component.type();
  if (depth > kMaxDecoders) {
    component.bad("fewer nested sequences");
  }
  if (type == "Sequence") {
    for (const Component& item : component.at("decoders").items()) {
      add(item, depth + 1);
    }
  } else if (type == "ByteLevel") {
    steps_.emplace_back(ByteLevelDecoder{});
  } else if (type == "ByteFallback") {
    steps_.emplace_back(ByteFallbackDecoder{});
  } else if (type == "Fuse") {
    steps_.emplace_back(FuseDecoder{});
  } else if (type == "Replace") {
    steps_.emplace_back(
        ReplaceDecoder{Pattern::read(component.at("pattern")), component.text("content")});
  } else if (type == "Strip") {
    steps_.emplace_back(StripDecoder{to_utf8(component.character("content")),
                                     component.at("start").as_integer(),
                                     component.at("stop").as_integer()});
  } else if (type == "Metaspace") {
    const bool never =
        component.has("prepend_scheme") && component.text("prepend_scheme") == "never";
    steps_.emplace_back(MetaspaceDecoder{to_utf8(component.character("replacement")), !never});
  } else {
    component.unknown("decoder");
  }
}

std::string TokenDecoder::decode(std::vector<std::string> tokens, RegexScratch& scratch) const {
  if (!present_) {
    std::string out;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      out += (i == 0 ? "" : " ") + tokens[i];
    }
    return out;
  }
  for (const DecoderStep& step : steps_) {
    std::visit([&](const auto& known) { run(known, tokens, scratch); }, step);
  }
  return joined(tokens);
}

}  // namespace mg
