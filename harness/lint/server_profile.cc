#include "harness/lint/server_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "harness/io/json_file.h"
#include "harness/lint/builtin_servers.h"
#include "kernels/core/error.h"

namespace mg::lint {
namespace {

ServerFact fact(const nlohmann::json& profile, const char* key) {
  const nlohmann::json& value = profile.at(key);
  ServerFact read{value.at("supported"), value.at("says"), value.at("source"),
                  value.value("version", profile.at("version").get<std::string>())};
  if (read.source.empty() || (!read.supported && read.says.empty())) {
    throw Error({.code = "server.profile",
                 .what = "an entry without its source",
                 .where = key,
                 .expected = "source, and says where it is not supported",
                 .actual = value.dump(),
                 .hint = {}});
  }
  return read;
}

}  // namespace

ServerProfile parse_server_profile(std::string_view json, std::string_view file) {
  const nlohmann::json value = parse_json(json, file);
  try {
    ServerProfile profile;
    profile.name = value.at("name");
    profile.version = value.at("version");
    profile.serves_adapters = value.at("serves_adapters");
    profile.default_max_rank = value.at("default_max_rank");
    profile.allowed_ranks = value.at("allowed_ranks").get<std::vector<std::int64_t>>();
    profile.rank_flag = value.at("rank_flag");
    profile.rank_source = value.at("rank_source");
    profile.modules_to_save = fact(value, "modules_to_save");
    profile.dora = fact(value, "dora");
    profile.lora_bias = fact(value, "lora_bias");
    profile.rslora = fact(value, "rslora");
    profile.patterns = fact(value, "patterns");
    profile.residual_init = fact(value, "residual_init");
    profile.trainable_tokens = fact(value, "trainable_tokens");
    profile.embeddings = fact(value, "embeddings");
    profile.vision = fact(value, "vision");
    profile.target_parameters = fact(value, "target_parameters");
    profile.new_rope_keys = fact(value, "new_rope_keys");
    profile.new_dtype_key = fact(value, "new_dtype_key");
    profile.mrope_default = fact(value, "mrope_default");
    profile.kv_shared = fact(value, "kv_shared");
    profile.bare_backbone = fact(value, "bare_backbone");
    profile.no_float16 = value.at("no_float16").get<std::vector<std::string>>();
    profile.no_float16_source = value.at("no_float16_source");
    return profile;
  } catch (const nlohmann::json::exception& error) {
    throw Error({.code = "server.profile",
                 .what = "the profile is not whole",
                 .where = std::string(file),
                 .expected = "every key of configs/servers/vllm.json",
                 .actual = json_error_detail(error.what()),
                 .hint = {}});
  }
}

std::span<const ServerProfile> server_profiles() {
  static const std::vector<ServerProfile> kProfiles = [] {
    std::vector<ServerProfile> profiles;
    for (const BuiltinServer& server : builtin_servers()) {
      profiles.push_back(parse_server_profile(server.json, server.name));
    }
    return profiles;
  }();
  return kProfiles;
}

const ServerProfile& find_server(std::string_view name) {
  std::vector<std::string> known;
  for (const ServerProfile& profile : server_profiles()) {
    if (profile.name == name) {
      return profile;
    }
    known.push_back(profile.name);
  }
  throw Error({.code = "server.unknown",
               .what = "there is no profile of this server",
               .where = "--server",
               .expected = fmt::format("one of {}", fmt::join(known, ", ")),
               .actual = std::string(name),
               .hint = "configs/servers holds the profiles"},
              ErrorKind::kUsage);
}

}  // namespace mg::lint
