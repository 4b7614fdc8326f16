#include "harness/model/quantised_names.h"

#include <array>

namespace mg {
namespace {

// Appended to the weight's whole name (bitsandbytes.functional.QuantState.as_dict).
constexpr auto kAppended = std::to_array<std::string_view>(
    {".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"});
constexpr std::string_view kQuantState = ".quant_state.";

struct Sibling {
  std::string_view name;
  bool codes;
};

// In the place of the component "weight".
constexpr auto kSiblings = std::to_array<Sibling>({
    {"SCB", false},
    {"weight_format", false},
    {"qweight", true},
    {"qzeros", false},
    {"scales", false},
    {"g_idx", false},
    {"weight_scale", false},
    {"weight_scale_2", false},
    {"weight_scale_inv", false},
    {"input_scale", false},
    {"weight_packed", true},
    {"weight_shape", false},
    {"weight_zero_point", false},
    {"weight_g_idx", false},
    {"input_zero_point", false},
    {"activation_scale", false},
    {"biases", false},
});

}  // namespace

std::optional<QuantisedName> quantised_name(std::string_view name) {
  for (const std::string_view suffix : kAppended) {
    if (name.ends_with(suffix) && name.size() > suffix.size()) {
      return QuantisedName{std::string(name.substr(0, name.size() - suffix.size())), false};
    }
  }
  if (const std::size_t at = name.rfind(kQuantState); at != std::string_view::npos && at > 0) {
    return QuantisedName{std::string(name.substr(0, at)), false};
  }
  const std::size_t dot = name.rfind('.');
  if (dot != std::string_view::npos) {
    for (const Sibling& sibling : kSiblings) {
      if (name.substr(dot + 1) == sibling.name) {
        return QuantisedName{std::string(name.substr(0, dot)) + ".weight", sibling.codes};
      }
    }
  }
  for (const auto& [suffix, codes] : {Sibling{"_blocks", true}, Sibling{"_scales", false}}) {
    if (name.ends_with(suffix) && name.size() > suffix.size()) {
      return QuantisedName{std::string(name.substr(0, name.size() - suffix.size())), codes};
    }
  }
  return std::nullopt;
}

}  // namespace mg
