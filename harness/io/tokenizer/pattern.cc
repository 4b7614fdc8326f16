#include "harness/io/tokenizer/pattern.h"

namespace mg {

Pattern Pattern::read(const Component& component) {
  const bool literal = component.has("String");
  if (component.value().size() != 1 || (!literal && !component.has("Regex"))) {
    component.bad(R"({"String": ...} or {"Regex": ...})");
  }
  if (!literal) {
    return Pattern(Regex(component.text("Regex"), component.where()));
  }
  std::string text = component.text("String");
  if (text.empty()) {  // the reference compiles the empty expression
    return Pattern(Regex("", component.where()));
  }
  return Pattern(std::move(text));
}

void Pattern::find_all(std::string_view text, RegexScratch& scratch,
                       std::vector<TextRange>& matches) const {
  if (const auto* regex = std::get_if<Regex>(&value_)) {
    regex->find_all(text, scratch, matches);
    return;
  }
  const std::string& literal = std::get<std::string>(value_);
  for (std::size_t at = text.find(literal); at != std::string_view::npos;
       at = text.find(literal, at + literal.size())) {
    matches.push_back({at, at + literal.size()});
  }
}

}  // namespace mg
