// Planted faults of configs and tokenizers.
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "harness/run/damage.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

using Json = nlohmann::ordered_json;

/// Changes a JSON text; returns why it cannot, or an empty text.
using Edit = std::function<std::string(Json&)>;

/// Every token of the vocabulary but the special ones takes the id of the next.
std::string shift_ids(Json& tokenizer) {
  std::set<std::string> special;
  if (const auto added = tokenizer.find("added_tokens"); added != tokenizer.end()) {
    for (const Json& token : *added) {
      special.insert(token.value("content", ""));
    }
  }
  const auto model = tokenizer.find("model");
  const auto vocabulary = model == tokenizer.end() ? model : model->find("vocab");
  if (model == tokenizer.end() || vocabulary == model->end()) {
    return "tokenizer.json has no vocabulary";
  }
  std::vector<Json*> places;  // an id (BPE, WordPiece), or the token that stands at it (Unigram)
  for (auto& [key, value] : vocabulary->items()) {
    Json* place = vocabulary->is_array() ? &value.at(0) : &value;
    const std::string token = vocabulary->is_array() ? place->get<std::string>() : key;
    if (special.count(token) == 0) {
      places.push_back(place);
    }
  }
  for (std::size_t i = 1; i < places.size(); ++i) {
    std::swap(*places[i - 1], *places[i]);
  }
  return places.size() < 2 ? "tokenizer.json has no ordinary tokens" : "";
}

std::string leave_quantization(Json& config) {
  if (config.contains("quantization_config")) {
    return "merged has a quantization_config already";
  }
  config["quantization_config"] = {{"quant_method", "bitsandbytes"},
                                   {"load_in_4bit", true},
                                   {"load_in_8bit", false},
                                   {"bnb_4bit_quant_type", "nf4"},
                                   {"bnb_4bit_compute_dtype", "bfloat16"}};
  return "";
}

/// Multiplies every rope_theta, however deep it stands.
bool scale_theta(Json& json) {
  bool found = false;
  for (auto& [key, value] : json.items()) {
    if (key == "rope_theta" && value.is_number()) {
      value = value.get<double>() * 10.0;
      found = true;
    } else if (value.is_object()) {
      found = scale_theta(value) || found;
    }
  }
  return found;
}

std::string other_theta(Json& config) {
  return scale_theta(config) ? "" : "merged's config.json names no rope_theta";
}

std::pair<std::string, Edit> edit_of(Damage damage) {
  switch (damage) {
    case Damage::kStaleTokenizer:
      return {"tokenizer.json", shift_ids};
    case Damage::kLeftoverConfig:
      return {"config.json", leave_quantization};
    case Damage::kRopeTheta:
      return {"config.json", other_theta};
    default:
      MG_CHECK(false, "a damage of the files");
  }
}

}  // namespace

std::string write_damaged_files(const std::filesystem::path& merged, Damage damage,
                                const std::filesystem::path& out) {
  std::filesystem::create_directories(out);
  for (const auto& entry : std::filesystem::directory_iterator(merged)) {
    std::filesystem::create_symlink(std::filesystem::absolute(entry.path()),
                                    out / entry.path().filename());
  }
  const auto [name, edit] = edit_of(damage);
  if (!std::filesystem::exists(merged / name)) {
    return "merged has no " + name;
  }
  std::ifstream in(merged / name, std::ios::binary);
  Json json = Json::parse(in, nullptr, false);
  if (json.is_discarded()) {
    return "merged's " + name + " cannot be read";
  }
  std::string problem = edit(json);
  std::filesystem::remove(out / name);
  std::ofstream file(out / name, std::ios::binary);
  file << json.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  file.close();
  if (!file) {
    throw Error({.code = "file.write",
                 .what = "cannot write a damaged copy of merged's " + name,
                 .where = (out / name).string(),
                 .expected = {},
                 .actual = {},
                 .hint = "check the free space of the temporary folder"});
  }
  return problem;
}

}  // namespace mg
