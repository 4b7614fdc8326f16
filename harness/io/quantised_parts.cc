#include "harness/io/quantised_parts.h"

#include <fmt/format.h>

#include "kernels/core/error.h"
#include "kernels/core/shape.h"

namespace mg {

QuantisedParts::QuantisedParts(std::vector<StoredTensor>& tensors,
                               const std::filesystem::path& folder, std::string writer,
                               std::string remedy)
    : tensors_(tensors), folder_(folder), writer_(std::move(writer)), remedy_(std::move(remedy)) {
  std::map<DType, std::size_t> bytes;
  for (const StoredTensor& tensor : tensors) {
    by_name_.emplace(tensor.name, &tensor);
    bytes[tensor.view.dtype] += tensor.view.bytes;
  }
  plain_dtype_ = bytes[DType::kBF16] > bytes[DType::kF16] ? DType::kBF16 : DType::kF16;
}

const StoredTensor* QuantisedParts::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

std::string QuantisedParts::where(const std::string& name) const {
  return fmt::format("{}: {}", folder_.string(), name);
}

void QuantisedParts::refuse(std::string_view code, std::string what, const std::string& name,
                            std::string expected, std::string actual, std::string hint) const {
  throw Error({.code = fmt::format("quantised.{}", code),
               .what = std::move(what),
               .where = where(name),
               .expected = std::move(expected),
               .actual = std::move(actual),
               .hint = hint.empty() ? remedy_ : std::move(hint)});
}

const StoredTensor& QuantisedParts::part(const std::string& name, QuantisedTensor& tensor) {
  const StoredTensor* found = find(name);
  if (found == nullptr) {
    refuse("incomplete", fmt::format("a part of the quantised weight {} is missing", tensor.name),
           name, fmt::format("{} beside its other parts", name), "absent",
           "an incomplete download or a save that dropped it: fetch or save the base again");
  }
  if (!claimed_.insert(name).second) {
    refuse("layout", "a tensor is a part of two quantised weights", name,
           "one description of each weight", "another for " + tensor.name);
  }
  tensor.parts.push_back(*found);
  return *found;
}

void QuantisedParts::require(bool holds, const StoredTensor& stored, std::string expected) const {
  if (!holds) {
    refuse("layout",
           fmt::format("a part of a quantised weight is not as {} stores it; its meaning would be "
                       "a guess",
                       writer_),
           stored.name, std::move(expected), form_of(stored.view),
           remedy_ + ", without casting it");
  }
}

void QuantisedParts::drop_claimed() {
  std::erase_if(tensors_, [&](const StoredTensor& tensor) { return is_claimed(tensor.name); });
  by_name_.clear();
}

std::string form_of(const TensorView& view) {
  return fmt::format("{} {}", dtype_name(view.dtype), to_string(view.shape));
}

}  // namespace mg
