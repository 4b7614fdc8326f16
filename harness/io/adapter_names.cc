#include "harness/io/adapter_names.h"

#include <algorithm>
#include <vector>

namespace mg {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";

using Components = std::vector<std::string_view>;

Components split(std::string_view name) {
  Components components;
  std::size_t begin = 0;
  for (std::size_t dot = name.find('.'); dot != std::string_view::npos;
       dot = name.find('.', begin)) {
    components.push_back(name.substr(begin, dot - begin));
    begin = dot + 1;
  }
  components.push_back(name.substr(begin));
  return components;
}

std::string join(const Components& components) {
  std::string text;
  for (const std::string_view component : components) {
    if (!text.empty()) {
      text += '.';
    }
    text += component;
  }
  return text;
}

// Takes "base_layer" out of a path; returns how many there were.
int unwrap(Components& path) {
  const auto end = std::remove(path.begin(), path.end(), "base_layer");
  const auto removed = static_cast<int>(path.end() - end);
  path.erase(end, path.end());
  return removed;
}

// After the marker: [NAME].tail, or [NAME] where `tail` is empty.  False when it has another form.
bool read_rest(const Components& rest, std::string_view tail, std::string& adapter_name) {
  const std::size_t tail_size = tail.empty() ? 0 : 1;
  if (rest.size() < tail_size || rest.size() > tail_size + 1 ||
      (tail_size == 1 && rest.back() != tail)) {
    return false;
  }
  adapter_name = rest.size() > tail_size ? std::string(rest.front()) : std::string();
  return true;
}

AdapterName unrecognised() {
  return {};
}

AdapterName read_low_rank(std::string_view marker, const Components& rest, Components path) {
  AdapterName read;
  read.embedding = marker.starts_with("lora_embedding_");
  read.part = marker.ends_with("A") ? AdapterPart::kA : AdapterPart::kB;
  const bool fits = read.embedding ? read_rest(rest, "", read.adapter_name)
                                   : read_rest(rest, "weight", read.adapter_name);
  if (!fits && marker == "lora_B" && read_rest(rest, "bias", read.adapter_name)) {
    read.part = AdapterPart::kBias;
  } else if (!fits) {
    return unrecognised();
  }
  read.nesting = unwrap(path);
  read.module = join(path);
  return read.module.empty() ? unrecognised() : read;
}

AdapterName read_magnitude(const Components& rest, Components path) {
  AdapterName read;
  read.part = AdapterPart::kMagnitude;
  // "weight" alone is the parameter of newer versions, not an adapter called so.
  const bool bare = rest.size() == 1 && rest.front() == "weight";
  if (!bare && !read_rest(rest, "weight", read.adapter_name) &&
      !read_rest(rest, "", read.adapter_name)) {
    return unrecognised();
  }
  read.nesting = unwrap(path);
  read.module = join(path);
  return read.module.empty() ? unrecognised() : read;
}

AdapterName read_token_rows(const Components& rest, Components path) {
  AdapterName read;
  read.part = AdapterPart::kTokenRows;
  if (!read_rest(rest, "", read.adapter_name)) {
    return unrecognised();
  }
  if (!path.empty() && path.back() == "token_adapter") {
    path.pop_back();
  }
  read.module = join(path);
  return read.module.empty() ? unrecognised() : read;
}

// A tensor of the model itself: `path` leads to the module, `rest` from there to the parameter.
AdapterName read_model_tensor(AdapterPart part, Components path, Components rest) {
  AdapterName read;
  read.part = part;
  path.insert(path.end(), rest.begin(), rest.end());
  path.erase(std::remove(path.begin(), path.end(), "token_adapter"), path.end());
  read.nesting = unwrap(path);
  if (read.nesting > 0 && part == AdapterPart::kReplacement) {
    read.part = AdapterPart::kWrapped;
  }
  read.module = join(path);
  return path.size() < 2 ? unrecognised() : read;
}

bool is_marker(std::string_view component) {
  return component == "lora_A" || component == "lora_B" || component == "lora_embedding_A" ||
         component == "lora_embedding_B" || component == "lora_magnitude_vector" ||
         component == "trainable_tokens_delta" || component == "modules_to_save" ||
         component == "original_module";
}

// Other PEFT methods and newer LoRA variants keep their tensors under such names.
bool is_foreign_marker(std::string_view component) {
  return component.starts_with("lora_") || component.starts_with("hada_") ||
         component.starts_with("lokr_") || component.starts_with("vera_") ||
         component.starts_with("oft_") || component.starts_with("boft_") ||
         component.starts_with("ia3_") || component == "base_model";
}

}  // namespace

AdapterName read_adapter_name(std::string_view name, std::string_view adapter_name) {
  if (!name.starts_with(kPrefix)) {
    return unrecognised();
  }
  const Components all = split(name.substr(kPrefix.size()));
  const auto last = std::find_if(all.rbegin(), all.rend(), is_marker);
  if (last == all.rend()) {
    const bool foreign = std::any_of(all.begin(), all.end(), is_foreign_marker);
    return foreign ? unrecognised() : read_model_tensor(AdapterPart::kReplacement, all, {});
  }
  const std::string_view marker = *last;
  const Components rest(last.base(), all.end());
  const Components path(all.begin(), last.base() - 1);
  if (std::any_of(path.begin(), path.end(), is_foreign_marker)) {
    return unrecognised();
  }
  if (marker == "trainable_tokens_delta") {
    return read_token_rows(rest, path);
  }
  if (marker == "lora_magnitude_vector") {
    return read_magnitude(rest, path);
  }
  if (marker == "original_module") {
    return read_model_tensor(AdapterPart::kOriginal, path, rest);
  }
  if (marker == "modules_to_save") {
    // "X.modules_to_save.weight" or "X.modules_to_save.NAME.weight"; a saved module may itself hold
    // modules.
    const bool named = rest.size() >= 2 && rest.front() == adapter_name;
    AdapterName read = read_model_tensor(AdapterPart::kReplacement, path,
                                         Components(rest.begin() + (named ? 1 : 0), rest.end()));
    read.adapter_name = named ? std::string(rest.front()) : std::string();
    return read;
  }
  return read_low_rank(marker, rest, path);
}

}  // namespace mg
