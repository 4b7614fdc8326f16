#include "harness/io/tokenizer/post_processor.h"

#include <string>

namespace mg {
namespace {

constexpr int kMaxPostProcessors = 32;
constexpr std::size_t kMaxLayout =
    4096;  // a sequence of templates that repeat $A grows exponentially

}  // namespace

PostProcessor PostProcessor::read(const Component& component) {
  PostProcessor result;
  if (!component.is_null()) {
    result.add(component, 0);
    if (result.layout().size() > kMaxLayout) {
      component.bad("templates that add fewer than 4096 tokens");
    }
  }
  return result;
}

void PostProcessor::add(const Component& component, int depth) {
  const std::string type = component.type();
  if (depth > kMaxPostProcessors) {
    component.bad("fewer nested sequences");
  }
  if (type == "Sequence") {
    for (const Component& item : component.at("processors").items()) {
      add(item, depth + 1);
    }
  } else if (type == "TemplateProcessing") {
    add_template(component);
  } else if (type != "ByteLevel") {
    component.unknown("post-processor");
  }
}

void PostProcessor::add_template(const Component& component) {
  const Component special = component.at("special_tokens");
  std::vector<std::optional<std::int32_t>> items;
  for (const Component& piece : component.at("single").items()) {
    if (piece.has("Sequence")) {
      if (piece.at("Sequence").text("id") != "A") {
        piece.bad("sequence A: a single text has no sequence B");
      }
      items.emplace_back(std::nullopt);
      continue;
    }
    const std::string name = piece.at("SpecialToken").text("id");
    for (const Component& id : special.at(name).at("ids").items()) {
      items.emplace_back(static_cast<std::int32_t>(id.as_integer()));
    }
  }
  templates_.push_back(std::move(items));
}

std::vector<std::optional<std::int32_t>> PostProcessor::layout() const {
  std::vector<std::optional<std::int32_t>> layout = {std::nullopt};
  for (const auto& items : templates_) {
    std::vector<std::optional<std::int32_t>> next;
    for (const auto& item : items) {
      if (item) {
        next.push_back(item);
      } else {
        next.insert(next.end(), layout.begin(), layout.end());
      }
    }
    layout = std::move(next);
    if (layout.size() > kMaxLayout) {
      return layout;
    }
  }
  return layout;
}

}  // namespace mg
