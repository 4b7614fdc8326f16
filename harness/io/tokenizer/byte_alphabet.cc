#include "harness/io/tokenizer/byte_alphabet.h"

#include "harness/io/tokenizer/unicode.h"

namespace mg {
namespace {

constexpr bool prints(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char32_t, 256> make_characters() {
  std::array<char32_t, 256> table{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    table[byte] = prints(byte) ? byte : next++;
  }
  return table;
}

constexpr std::array<char32_t, 256> kCharacters = make_characters();

constexpr std::array<std::int16_t, 0x144> make_bytes() {
  std::array<std::int16_t, 0x144> table{};
  table.fill(-1);
  for (std::size_t byte = 0; byte < 256; ++byte) {
    table[kCharacters[byte]] = static_cast<std::int16_t>(byte);
  }
  return table;
}

constexpr std::array<std::int16_t, 0x144> kBytes = make_bytes();

}  // namespace

const std::array<char32_t, 256>& byte_characters() {
  return kCharacters;
}

std::optional<unsigned char> byte_of_character(char32_t c) {
  if (c >= kBytes.size() || kBytes[c] < 0) {
    return std::nullopt;
  }
  return static_cast<unsigned char>(kBytes[c]);
}

std::string spell_bytes(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes) {
    append_utf8(out, kCharacters[static_cast<unsigned char>(byte)]);
  }
  return out;
}

std::optional<std::string> unspell_bytes(std::string_view spelling) {
  std::string out;
  out.reserve(spelling.size());
  for (std::size_t at = 0; at < spelling.size();) {
    const CodePoint c = code_point_at(spelling, at);
    const auto byte = byte_of_character(c.value);
    if (!byte) {
      return std::nullopt;
    }
    out.push_back(static_cast<char>(*byte));
    at += c.bytes;
  }
  return out;
}

}  // namespace mg
