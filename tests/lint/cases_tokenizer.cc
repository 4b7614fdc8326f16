// Tokenizer, templates, generation settings, and files beside the weights.
#include "tests/lint/cases.h"

namespace mg::lint {
namespace {

constexpr const char* kTokenizer = "merged/tokenizer_config.json";
constexpr const char* kGeneration = "merged/generation_config.json";

void add_code(const World& world, const char* folder) {
  world.write(std::string(folder) + "/modeling_new.py", "class New: pass\n");
}

void add_auto_map(const World& world) {
  for (const char* file : {"merged/config.json", "base/config.json"}) {
    world.edit(file, [](nlohmann::json& c) {
      c["auto_map"] = {{"AutoModelForCausalLM", "modeling_new.New"},
                       {"AutoConfig", "someone/other--configuration_new.NewConfig"}};
    });
  }
}

}  // namespace

std::span<const Case> tokenizer_cases() {
  static const std::vector<Case> cases = {
      {"tokenizer.ids", "added-token", "demo",
       [](World& w) {
         w.edit("merged/tokenizer.json", [](nlohmann::json& t) {
           nlohmann::json token = t["added_tokens"][0];
           token["id"] = 2048;
           token["content"] = "<|new|>";
           t["added_tokens"].push_back(token);
         });
       }},
      {"tokenizer.ids", "pad-id", "golden/qwen2",
       [](World& w) {
         w.edit("merged/config.json", [](nlohmann::json& c) { c["pad_token_id"] = 5000; });
       }},
      {"tokenizer.missing-files", "no-tokenizer", "demo",
       [](World& w) { w.remove("merged/tokenizer.json"); }, true},
      {"tokenizer.special-tokens", "pad", "demo",
       [](World& w) {
         w.edit(kTokenizer, [](nlohmann::json& c) { c["pad_token"] = "<|endoftext|>x"; });
       },
       true,
       [](World& w) {  // the adapter brings the token it was trained with
         w.edit(kTokenizer, [](nlohmann::json& c) { c["pad_token"] = "<|endoftext|>x"; });
         w.copy(kTokenizer, "adapter/tokenizer_config.json");
       }},
      {"tokenizer.newer-schema", "list", "demo",
       [](World& w) {
         w.edit(kTokenizer,
                [](nlohmann::json& c) { c["extra_special_tokens"] = nlohmann::json::array(); });
         w.edit("base/tokenizer_config.json",
                [](nlohmann::json& c) { c.erase("extra_special_tokens"); });
       },
       true},
      {"tokenizer.other", "merges-differ", "demo",
       [](World& w) {
         w.edit("merged/tokenizer.json", [](nlohmann::json& t) {
           t["model"]["merges"].erase(t["model"]["merges"].size() - 1);
         });
       },
       false,
       [](World& w) {  // the same content in another layout
         w.edit("merged/tokenizer.json", [](nlohmann::json&) {});
       }},
      {"tokenizer.other", "ids-moved", "demo",
       [](World& w) {
         w.edit("merged/tokenizer.json", [](nlohmann::json& t) {
           auto& vocabulary = t["model"]["vocab"];
           std::swap(vocabulary["a"], vocabulary["b"]);
         });
       }},
      {"generation.missing", "removed", "demo", [](World& w) { w.remove(kGeneration); }, true,
       [](World& w) {  // the base has none either
         w.remove(kGeneration);
         w.remove("base/generation_config.json");
       }},
      {"generation.stop-ids", "one-of-two-lost", "demo",
       [](World& w) {
         w.edit("base/generation_config.json", [](nlohmann::json& c) {
           c["eos_token_id"] = {2, 7};
         });
       },
       true},
      {"template.places-differ", "two-templates", "demo",
       [](World& w) {
         w.edit(kTokenizer, [](nlohmann::json& c) { c["chat_template"] = "{{ messages }}"; });
       },
       false,
       [](World& w) {  // the same text, another way of ending lines
         std::string text = w.text("merged/chat_template.jinja");
         w.edit(kTokenizer, [&](nlohmann::json& c) { c["chat_template"] = text + "\r\n"; });
       }},
      {"template.missing", "removed", "demo",
       [](World& w) { w.remove("merged/chat_template.jinja"); }, true},
      {"template.changed", "other-words", "demo",
       [](World& w) {
         w.write("merged/chat_template.jinja", "Be brief. " + w.text("merged/chat_template.jinja"));
       },
       false,
       [](World& w) {
         w.write("merged/chat_template.jinja", "Be brief. " + w.text("merged/chat_template.jinja"));
         w.copy("merged/chat_template.jinja", "adapter/chat_template.jinja");
       }},
      {"files.adapter-left", "both-files", "golden/qwen2",
       [](World& w) {
         w.copy("adapter/adapter_config.json", "merged/adapter_config.json");
         w.copy("adapter/adapter_model.safetensors", "merged/adapter_model.safetensors");
       },
       true, [](World& w) { w.copy("adapter", "merged/lora_adapter"); }},
      {"files.processor", "removed", "golden/qwen2-vl",
       [](World& w) { w.remove("merged/preprocessor_config.json"); }, true,
       [](World& w) {
         w.remove("merged/preprocessor_config.json");
         w.remove("base/preprocessor_config.json");
       }},
      {"files.processor", "changed", "golden/qwen2-vl",
       [](World& w) {
         w.edit("merged/preprocessor_config.json", [](nlohmann::json& c) {
           c["image_mean"] = {0.0, 0.0, 0.0};
         });
       },
       true},
      {"files.custom-code", "not-copied", "golden/qwen2",
       [](World& w) {
         add_auto_map(w);
         add_code(w, "base");
       },
       true,
       [](World& w) {
         add_auto_map(w);
         add_code(w, "base");
         add_code(w, "merged");
       }},
      {"generation.turn-end", "not-a-stop", "demo",
       [](World& w) {
         for (const char* folder : {"merged", "base"}) {
           const std::string name = folder;
           w.edit(name + "/tokenizer.json", [](nlohmann::json& t) {
             nlohmann::json token = t["added_tokens"][0];
             token["id"] = 2047;
             token["content"] = "<|eot_id|>";
             t["added_tokens"].push_back(token);
           });
           w.write(name + "/chat_template.jinja", "{{ messages[0].content }}<|eot_id|>");
         }
         w.edit("base/generation_config.json", [](nlohmann::json& c) {
           c["eos_token_id"] = {c["eos_token_id"], 2047};
         });
         // Merged's other files keep the id, so that only the template's demand is unmet.
         w.remove("base/generation_config.json");
         w.remove("base/chat_template.jinja");
       },
       true},
  };
  return cases;
}

}  // namespace mg::lint
