// HTML, SVG and XML as a type.  A Markup is made only from a literal with checked {} places; what
// is put into them is escaped unless it is Markup itself.  So text from files cannot reach the page
// as tags: there is no way from a std::string to a Markup but through escaping. Not for: the
// terminal (text.h).  Tested in tests/reports/markup_test.cc.
#pragma once

#include <fmt/format.h>

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace mg::html {

/// Text safe between tags and inside quoted attributes: & < > " ' as references, control characters
/// and marks that reorder text as visible escapes, bytes that are not UTF-8 as U+FFFD.
std::string escape(std::string_view text);

/// A coordinate of a drawing: two decimals at most, without trailing zeros.  Throws an internal
/// Error for NaN and infinity, which no drawing can place.
std::string coordinate(double value);

class Markup;

namespace detail {

/// What stands in a place of a template: always a piece of finished HTML.
struct Piece {
  std::string text;
};

Piece piece(const Markup& markup);
inline Piece piece(std::string_view text) {
  return {escape(text)};
}
template <std::floating_point Number>
Piece piece(Number value) {
  return {coordinate(static_cast<double>(value))};
}
template <std::integral Number>
requires(!std::same_as<Number, bool> && !std::same_as<Number, char>) Piece piece(Number value) {
  return {fmt::to_string(value)};
}

template <typename>
using AlwaysPiece = Piece;

}  // namespace detail

/// Finished HTML.  Empty at first; grows by templates and other Markup.
class Markup {
 public:
  Markup() = default;

  /// Appends the template with its places filled: `page.add("<td>{}</td>", name)`.
  template <typename... Values>
  Markup& add(std::type_identity_t<fmt::format_string<detail::AlwaysPiece<Values>...>> form,
              const Values&... values) {
    fmt::format_to(std::back_inserter(text_), form, detail::piece(values)...);
    return *this;
  }

  Markup& operator+=(const Markup& other) {
    text_ += other.text_;
    return *this;
  }

  bool empty() const { return text_.empty(); }
  std::size_t size() const { return text_.size(); }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

inline detail::Piece detail::piece(const Markup& markup) {
  return {markup.text()};
}

/// One template as Markup: `markup("<b>{}</b>", name)`.
template <typename... Values>
Markup markup(std::type_identity_t<fmt::format_string<detail::AlwaysPiece<Values>...>> form,
              const Values&... values) {
  Markup out;
  out.add<Values...>(form, values...);
  return out;
}

}  // namespace mg::html

template <>
struct fmt::formatter<mg::html::detail::Piece> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  template <typename Context>
  auto format(const mg::html::detail::Piece& piece, Context& context) const {
    return std::copy(piece.text.begin(), piece.text.end(), context.out());
  }
};
