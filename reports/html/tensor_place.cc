#include "reports/html/tensor_place.h"

#include <algorithm>
#include <charconv>
#include <vector>

namespace mg::html {
namespace {

std::vector<std::string_view> parts_of(std::string_view name) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t dot = name.find('.');
    parts.push_back(name.substr(0, dot));
    if (dot == std::string_view::npos) {
      return parts;
    }
    name.remove_prefix(dot + 1);
  }
}

/// A number of at most four digits: no model has more layers, and a longer one is a name.
bool is_number(std::string_view part) {
  return !part.empty() && part.size() <= 4 &&
         std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
}

void append(std::string& text, std::string_view part) {
  text += text.empty() ? "" : ".";
  text += part;
}

}  // namespace

std::optional<TensorPlace> tensor_place(std::string_view name) {
  const std::vector<std::string_view> parts = parts_of(name);
  const auto number = std::find_if(parts.begin(), parts.end(), is_number);
  if (number == parts.end()) {
    return std::nullopt;
  }
  TensorPlace place;
  std::for_each(parts.begin(), number,
                [&place](std::string_view part) { append(place.stack, part); });
  std::from_chars(number->data(), number->data() + number->size(), place.layer);
  const auto end = parts.back() == "weight" ? parts.end() - 1 : parts.end();
  std::for_each(std::min(number + 1, end), end, [&place](std::string_view part) {
    append(place.module, is_number(part) ? "*" : part);
  });
  return place;
}

}  // namespace mg::html
