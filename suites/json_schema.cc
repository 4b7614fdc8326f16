#include "suites/json_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "suites/text_match.h"

namespace mg {
namespace {

using SchemaJson = nlohmann::ordered_json;
using Misfit = std::optional<std::string>;

std::string at(const std::string& path, const std::string& what) {
  return fmt::format("{}: {}", path.empty() ? "/" : path, what);
}

bool is_type(const SchemaJson& value, std::string_view type) {
  // "1.0 is an integer": JSON Schema goes by the value, not by how it is written.
  const bool whole = value.is_number_integer() ||
                     (value.is_number_float() && std::floor(value.get<double>()) == value);
  return (type == "object" && value.is_object()) || (type == "array" && value.is_array()) ||
         (type == "string" && value.is_string()) || (type == "number" && value.is_number()) ||
         (type == "integer" && whole) || (type == "boolean" && value.is_boolean()) ||
         (type == "null" && value.is_null());
}

constexpr std::array<std::string_view, 7> kTypes{"object",  "array",   "string", "number",
                                                 "integer", "boolean", "null"};

/// Characters, not bytes.
std::int64_t characters(const std::string& text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

Misfit misfit(const SchemaJson& schema, const SchemaJson& value, const std::string& path);

/// One keyword: what its value must look like, and what it says of a value.
struct Keyword {
  std::string_view name;
  Misfit (*fault)(const SchemaJson& operand, const std::string& path);
  Misfit (*check)(const SchemaJson& operand, const SchemaJson& value, const std::string& path);
};

Misfit fault_of(const SchemaJson& schema, const std::string& path);

Misfit no_fault(const SchemaJson& /*operand*/, const std::string& /*path*/) {
  return std::nullopt;
}
Misfit no_check(const SchemaJson& /*operand*/, const SchemaJson& /*value*/,
                const std::string& /*path*/) {
  return std::nullopt;
}
Misfit number_operand(const SchemaJson& operand, const std::string& path) {
  return operand.is_number() ? Misfit() : at(path, "not a number");
}
Misfit list_of_schemas(const SchemaJson& operand, const std::string& path) {
  if (!operand.is_array() || operand.empty()) {
    return at(path, "not a list of schemas");
  }
  for (std::size_t i = 0; i < operand.size(); ++i) {
    if (const Misfit fault = fault_of(operand[i], fmt::format("{}/{}", path, i))) {
      return fault;
    }
  }
  return std::nullopt;
}

template <typename Size, typename Wrong>
Misfit bound(const SchemaJson& operand, bool applies, const Size& size, const Wrong& wrong,
             const std::string& path, std::string_view what) {
  if (applies && wrong(static_cast<double>(size()), operand.get<double>())) {
    return at(path, fmt::format("{} {}", what, operand.dump()));
  }
  return std::nullopt;
}

constexpr auto kBelow = [](double size, double limit) { return !(size >= limit); };
constexpr auto kAbove = [](double size, double limit) { return !(size <= limit); };

const std::array<Keyword, 23>& keywords() {
  static const std::array<Keyword, 23> kAll{{
      {"type",
       [](const SchemaJson& operand, const std::string& path) -> Misfit {
         const SchemaJson list = operand.is_array() ? operand : SchemaJson::array({operand});
         const bool known = std::all_of(list.begin(), list.end(), [](const SchemaJson& type) {
           return type.is_string() && std::find(kTypes.begin(), kTypes.end(),
                                                type.get_ref<const std::string&>()) != kTypes.end();
         });
         return known && !list.empty() ? Misfit() : at(path, "not a type of JSON");
       },
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) -> Misfit {
         const SchemaJson list = operand.is_array() ? operand : SchemaJson::array({operand});
         const bool fits = std::any_of(list.begin(), list.end(), [&](const SchemaJson& type) {
           return is_type(value, type.get_ref<const std::string&>());
         });
         return fits ? Misfit() : at(path, "not of type " + operand.dump());
       }},
      {"enum",
       [](const SchemaJson& operand, const std::string& path) -> Misfit {
         return operand.is_array() ? Misfit() : at(path, "not a list");
       },
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) -> Misfit {
         const bool listed = std::find(operand.begin(), operand.end(), value) != operand.end();
         return listed ? Misfit() : at(path, "not one of " + operand.dump());
       }},
      {"const", no_fault,
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) -> Misfit {
         return operand == value ? Misfit() : at(path, "not " + operand.dump());
       }},
      {"properties",
       [](const SchemaJson& operand, const std::string& path) -> Misfit {
         if (!operand.is_object()) {
           return at(path, "not an object of schemas");
         }
         for (const auto& [name, schema] : operand.items()) {
           if (const Misfit fault = fault_of(schema, path + "/" + name)) {
             return fault;
           }
         }
         return std::nullopt;
       },
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) -> Misfit {
         for (const auto& [name, schema] : operand.items()) {
           if (value.is_object() && value.contains(name)) {
             if (const Misfit found = misfit(schema, value.at(name), path + "/" + name)) {
               return found;
             }
           }
         }
         return std::nullopt;
       }},
      {"additionalProperties", fault_of, no_check},  // needs its neighbours: misfit()
      {"required",
       [](const SchemaJson& operand, const std::string& path) -> Misfit {
         const bool names =
             operand.is_array() && std::all_of(operand.begin(), operand.end(),
                                               [](auto& name) { return name.is_string(); });
         return names ? Misfit() : at(path, "not a list of names");
       },
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) -> Misfit {
         for (const SchemaJson& name : operand) {
           if (value.is_object() && !value.contains(name.get_ref<const std::string&>())) {
             return at(path, "lacks " + name.dump());
           }
         }
         return std::nullopt;
       }},
      {"items", fault_of,
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) -> Misfit {
         for (std::size_t i = 0; value.is_array() && i < value.size(); ++i) {
           if (const Misfit found = misfit(operand, value[i], fmt::format("{}/{}", path, i))) {
             return found;
           }
         }
         return std::nullopt;
       }},
      {"minItems", number_operand,
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) {
         return bound(
             operand, value.is_array(), [&] { return value.size(); }, kBelow, path,
             "fewer items than");
       }},
      {"maxItems", number_operand,
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) {
         return bound(
             operand, value.is_array(), [&] { return value.size(); }, kAbove, path,
             "more items than");
       }},
      {"minLength", number_operand,
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) {
         return bound(
             operand, value.is_string(),
             [&] { return characters(value.get_ref<const std::string&>()); }, kBelow, path,
             "shorter than");
       }},
      {"maxLength", number_operand,
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) {
         return bound(
             operand, value.is_string(),
             [&] { return characters(value.get_ref<const std::string&>()); }, kAbove, path,
             "longer than");
       }},
      {"pattern",
       [](const SchemaJson& operand, const std::string& path) -> Misfit {
         if (!operand.is_string()) {
           return at(path, "not a regular expression");
         }
         const Misfit fault = regex_fault(operand.get_ref<const std::string&>());
         return fault ? at(path, *fault) : Misfit();
       },
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) -> Misfit {
         const bool fits = !value.is_string() || regex_found(operand.get_ref<const std::string&>(),
                                                             value.get_ref<const std::string&>());
         return fits ? Misfit() : at(path, "does not match " + operand.dump());
       }},
      {"minimum", number_operand,
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) {
         return bound(
             operand, value.is_number(), [&] { return value.get<double>(); }, kBelow, path,
             "below");
       }},
      {"maximum", number_operand,
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) {
         return bound(
             operand, value.is_number(), [&] { return value.get<double>(); }, kAbove, path,
             "above");
       }},
      {"exclusiveMinimum", number_operand,
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) {
         return bound(
             operand, value.is_number(), [&] { return value.get<double>(); },
             [](double size, double limit) { return !(size > limit); }, path, "not above");
       }},
      {"exclusiveMaximum", number_operand,
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) {
         return bound(
             operand, value.is_number(), [&] { return value.get<double>(); },
             [](double size, double limit) { return !(size < limit); }, path, "not below");
       }},
      {"anyOf", list_of_schemas,
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) -> Misfit {
         const bool fits = std::any_of(operand.begin(), operand.end(), [&](const auto& schema) {
           return !misfit(schema, value, path);
         });
         return fits ? Misfit() : at(path, "fits none of anyOf");
       }},
      {"allOf", list_of_schemas,
       [](const SchemaJson& operand, const SchemaJson& value, const std::string& path) -> Misfit {
         for (const SchemaJson& schema : operand) {
           if (const Misfit found = misfit(schema, value, path)) {
             return found;
           }
         }
         return std::nullopt;
       }},
      // What only describes.
      {"$schema", no_fault, no_check},
      {"title", no_fault, no_check},
      {"description", no_fault, no_check},
      {"default", no_fault, no_check},
      {"examples", no_fault, no_check},
  }};
  return kAll;
}

const Keyword* keyword_named(std::string_view name) {
  const auto found = std::find_if(keywords().begin(), keywords().end(),
                                  [&](const Keyword& keyword) { return keyword.name == name; });
  return found == keywords().end() ? nullptr : &*found;
}

Misfit fault_of(const SchemaJson& schema, const std::string& path) {
  if (schema.is_boolean()) {
    return std::nullopt;
  }
  if (!schema.is_object()) {
    return at(path, "not a schema (an object or a boolean)");
  }
  for (const auto& [name, operand] : schema.items()) {
    const Keyword* keyword = keyword_named(name);
    if (keyword == nullptr) {
      return at(path, fmt::format("the keyword \"{}\" is not known here", name));
    }
    if (const Misfit fault = keyword->fault(operand, path + "/" + name)) {
      return fault;
    }
  }
  return std::nullopt;
}

/// additionalProperties: what `properties` does not name.
Misfit additional_misfit(const SchemaJson& schema, const SchemaJson& value,
                         const std::string& path) {
  const auto additional = schema.find("additionalProperties");
  if (additional == schema.end() || !value.is_object()) {
    return std::nullopt;
  }
  const auto named = schema.find("properties");
  for (const auto& [name, member] : value.items()) {
    if (named == schema.end() || !named->contains(name)) {
      if (const Misfit found = misfit(*additional, member, path + "/" + name)) {
        return found;
      }
    }
  }
  return std::nullopt;
}

Misfit misfit(const SchemaJson& schema, const SchemaJson& value, const std::string& path) {
  if (schema.is_boolean()) {
    return schema.get<bool>() ? Misfit() : at(path, "nothing may stand here");
  }
  for (const auto& [name, operand] : schema.items()) {
    if (const Misfit found = keyword_named(name)->check(operand, value, path)) {
      return found;
    }
  }
  return additional_misfit(schema, value, path);
}

}  // namespace

std::optional<std::string> schema_fault(const nlohmann::ordered_json& schema) {
  return fault_of(schema, "");
}

std::optional<std::string> schema_misfit(const nlohmann::ordered_json& schema,
                                         const nlohmann::ordered_json& value) {
  return misfit(schema, value, "");
}

}  // namespace mg
