#include "harness/io/tokenizer/aligned_text.h"

namespace mg {

void TextRewrite::keep(std::size_t begin, std::size_t end) {
  text_.append(target_.text_, begin, end - begin);
  if (!target_.tracked_) {
    return;
  }
  for (std::size_t at = begin; at < end; ++at) {
    const TextRange from = target_.origin(at, at + 1);
    origins_.emplace_back(static_cast<std::uint32_t>(from.begin),
                          static_cast<std::uint32_t>(from.end));
  }
}

void TextRewrite::replace(std::size_t begin, std::size_t end, std::string_view content) {
  text_.append(content);
  if (!target_.tracked_) {
    return;
  }
  const TextRange from = target_.origin(begin, end);
  origins_.insert(origins_.end(), content.size(),
                  {static_cast<std::uint32_t>(from.begin), static_cast<std::uint32_t>(from.end)});
}

void TextRewrite::commit() {
  target_.text_ = std::move(text_);
  target_.origins_ = std::move(origins_);
}

}  // namespace mg
