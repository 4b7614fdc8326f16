// The characters that byte-level vocabularies spell bytes with: GPT-2's table (bytes_to_unicode in
// its encoder.py).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mg {

/// The character for each byte: itself where it is printable Latin-1, else one counted from U+0100.
const std::array<char32_t, 256>& byte_characters();

/// The byte a character stands for.
std::optional<unsigned char> byte_of_character(char32_t c);

/// `bytes`, each spelled as its character.
std::string spell_bytes(std::string_view bytes);

/// The bytes a spelling stands for; nothing when one of its characters is not in the table.
std::optional<std::string> unspell_bytes(std::string_view spelling);

}  // namespace mg
