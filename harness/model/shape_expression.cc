#include "harness/model/shape_expression.h"

#include <cctype>
#include <string>

#include "kernels/core/error.h"

namespace mg {
namespace {

bool is_letter(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '.';
}
bool is_digit(char c) {
  return std::isdigit(static_cast<unsigned char>(c)) != 0;
}

class Parser {
 public:
  Parser(std::string_view text, const std::function<std::int64_t(std::string_view)>& value_of)
      : text_(text), value_of_(value_of) {}

  Shape shape() {
    Shape dims;
    do {
      dims.push_back(sum());
    } while (accept(','));
    MG_CHECK(at_ == text_.size(), "shape expression \"" + std::string(text_) + "\" does not parse");
    return dims;
  }

 private:
  std::int64_t sum() {
    std::int64_t value = product();
    for (;;) {
      if (accept('+')) {
        value += product();
      } else if (accept('-')) {
        value -= product();
      } else {
        return value;
      }
    }
  }

  std::int64_t product() {
    std::int64_t value = factor();
    for (;;) {
      if (accept('*')) {
        const std::optional<std::int64_t> result = checked_mul(value, factor());
        MG_CHECK(result.has_value(), "shape expression overflows");
        value = *result;
      } else if (accept('/')) {
        const std::int64_t divisor = factor();
        MG_CHECK(divisor != 0 && value % divisor == 0, "shape expression divides with a rest");
        value /= divisor;
      } else {
        return value;
      }
    }
  }

  std::int64_t factor() {
    if (accept('(')) {
      const std::int64_t value = sum();
      MG_CHECK(accept(')'), "shape expression lacks a parenthesis");
      return value;
    }
    const std::size_t begin = at_;
    if (at_ < text_.size() && is_digit(text_[at_])) {
      std::int64_t value = 0;
      for (; at_ < text_.size() && is_digit(text_[at_]); ++at_) {
        value = value * 10 + (text_[at_] - '0');
      }
      return value;
    }
    while (at_ < text_.size() && is_letter(text_[at_])) {
      ++at_;
    }
    MG_CHECK(at_ > begin, "shape expression \"" + std::string(text_) + "\" does not parse");
    return value_of_(text_.substr(begin, at_ - begin));
  }

  bool accept(char wanted) {
    skip_spaces();
    if (at_ < text_.size() && text_[at_] == wanted) {
      ++at_;
      skip_spaces();
      return true;
    }
    return false;
  }

  void skip_spaces() {
    while (at_ < text_.size() && text_[at_] == ' ') {
      ++at_;
    }
  }

  std::string_view text_;
  const std::function<std::int64_t(std::string_view)>& value_of_;
  std::size_t at_ = 0;
};

}  // namespace

Shape evaluate_shape(std::string_view expression,
                     const std::function<std::int64_t(std::string_view word)>& value_of) {
  return Parser(expression, value_of).shape();
}

}  // namespace mg
