// What a server accepts, as data: configs/servers/*.json, which are part of the program.
// Every entry names its source and the version it was read from.  Not for: running a server.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mg::lint {

/// One thing that a server does or does not do, and where that is written.
struct ServerFact {
  bool supported = true;
  std::string says;     // the server's own message where it refuses, or what it does instead
  std::string source;   // file, function, issue
  std::string version;  // that it was read from, or up to which it holds
};

struct ServerProfile {
  std::string name;     // "vllm"
  std::string version;  // of entries that name none of their own
  bool serves_adapters = true;

  // The adapter.
  std::int64_t default_max_rank = 0;  // 0: no limit of its own
  std::vector<std::int64_t> allowed_ranks;
  std::string rank_flag;  // "--max-lora-rank"
  std::string rank_source;
  ServerFact modules_to_save;
  ServerFact dora;
  ServerFact lora_bias;
  ServerFact rslora;
  ServerFact patterns;  // rank_pattern, alpha_pattern
  ServerFact residual_init;
  ServerFact trainable_tokens;
  ServerFact embeddings;  // lora_embedding_A/B, lm_head
  ServerFact vision;      // pairs on the vision tower or the connector
  ServerFact target_parameters;

  // The merged model.
  ServerFact new_rope_keys;             // reads rope_parameters
  ServerFact new_dtype_key;             // reads dtype
  ServerFact mrope_default;             // takes type "default" with mrope_section
  ServerFact kv_shared;                 // loads KV-shared layers that lack k and v
  ServerFact bare_backbone;             // loads names without the level "model."
  std::vector<std::string> no_float16;  // model types that overflow in float16
  std::string no_float16_source;
};

/// Throws Error "server.profile" for a text that is not a whole profile; `file` names it.
ServerProfile parse_server_profile(std::string_view json, std::string_view file);

/// The profiles inside the program, by name.
std::span<const ServerProfile> server_profiles();

/// Throws Error "server.unknown" listing those known.
const ServerProfile& find_server(std::string_view name);

}  // namespace mg::lint
