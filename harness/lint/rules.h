// The one list of lint rules, family by family.
#pragma once

#include <span>
#include <vector>

#include "harness/lint/rule.h"

namespace mg::lint {

std::span<const Rule> file_rules();          // what can be read at all
std::span<const Rule> index_rules();         // shards, index, strays
std::span<const Rule> quantization_rules();  // quantization_config and packed tensors
std::span<const Rule> dtype_rules();
std::span<const Rule> name_rules();    // wrapper residue, name generations
std::span<const Rule> tensor_rules();  // expected against stored
std::span<const Rule> head_rules();    // tied heads, vocabulary
std::span<const Rule> config_rules();  // meaning of config.json, against the base's
std::span<const Rule> tokenizer_rules();
std::span<const Rule> companion_file_rules();  // templates, processors, code, generation config
std::span<const Rule> adapter_rules();
std::span<const Rule> serving_rules();
std::span<const Rule> gguf_rules();  // a GGUF file beside merged

/// Every rule, in the order in which findings are listed.
const std::vector<const Rule*>& rules();

}  // namespace mg::lint
