#include "harness/io/tokenizer/regex_properties.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace mg {
namespace {

using Row = std::pair<std::string_view, std::string_view>;

constexpr std::array<Row, 11> kPosix = {{
    {"alnum", R"(\p{Alphabetic}\p{Nd})"},
    {"alpha", R"(\p{Alphabetic})"},
    {"blank", R"(\p{Zs}\t)"},
    {"cntrl", R"(\p{Cc})"},
    {"digit", R"(\p{Nd})"},
    {"lower", R"(\p{Lowercase})"},
    {"punct", R"(\p{P}\p{S})"},  // symbols too, since Oniguruma 6.9.5
    {"space", R"(\s)"},
    {"upper", R"(\p{Uppercase})"},
    {"word", kWordItems},
    {"xdigit", "0-9a-fA-F"},
}};

// Long names of general categories (Unicode, PropertyValueAliases.txt), without underscores.
constexpr std::array<Row, 37> kCategories = {{
    {"letter", "L"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"openpunctuation", "Ps"},
    {"closepunctuation", "Pe"},
    {"initialpunctuation", "Pi"},
    {"finalpunctuation", "Pf"},
    {"otherpunctuation", "Po"},
    {"symbol", "S"},
    {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"spaceseparator", "Zs"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
    {"other", "C"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"privateuse", "Co"},
    {"unassigned", "Cn"},
}};

constexpr std::array<std::string_view, 36> kShortCategories = {
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd",
    "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm",
    "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Co", "Cn"};

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Names match without regard to case, spaces, '-' and '_'.
std::string plain(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c != ' ' && c != '-' && c != '_') {
      out.push_back(lower(c));
    }
  }
  return out;
}

std::optional<std::string> row_of(std::span<const Row> rows, std::string_view name) {
  for (const auto& [key, value] : rows) {
    if (key == name) {
      return std::string(value);
    }
  }
  return std::nullopt;
}

bool is_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (lower(c) >= 'a' && lower(c) <= 'z') || c == '_' || c == ' ' || c == '-';
  });
}

std::string braces(std::string_view kind, std::string_view name) {
  std::string out = "\\p{";
  out += kind;
  out += name;
  out += '}';
  return out;
}

}  // namespace

std::optional<std::string> posix_items(std::string_view name) {
  return row_of(kPosix, name);
}

std::optional<std::string> property_items(std::string_view name) {
  if (!is_name(name)) {
    return std::nullopt;
  }
  const std::string key = plain(name);
  for (const std::string_view category : kShortCategories) {
    if (plain(category) == key) {
      return braces("", category);
    }
  }
  if (const auto category = row_of(kCategories, key)) {
    return braces("", *category);
  }
  if (key == "any") {
    return R"(\p{Any})";
  }
  if (key == "alphabetic") {
    return R"(\p{Alphabetic})";
  }
  if (auto posix = posix_items(key)) {
    return posix;
  }
  // PCRE2 10.40 and later read a bare script name as Script_Extensions; Oniguruma means Script.
  return braces("sc:", name);
}

}  // namespace mg
