// A GGUF file that is to be served in merged's place.
#include "tests/lint/cases.h"

namespace mg::lint {
namespace {

nlohmann::json tokenizer_of(const World& world) {
  return nlohmann::json::parse(world.text("merged/tokenizer.json"));
}

/// Tokens of the demo by id.
std::vector<std::string> tokens_of(const World& world) {
  const nlohmann::json file = tokenizer_of(world);
  std::vector<std::string> tokens(2048);
  for (const auto& [text, id] : file["model"]["vocab"].items()) {
    tokens.at(id.get<std::size_t>()) = text;
  }
  for (const nlohmann::json& token : file["added_tokens"]) {
    tokens.at(token["id"].get<std::size_t>()) = token["content"];
  }
  return tokens;
}

std::vector<std::string> merges_of(const World& world) {
  std::vector<std::string> merges;
  const nlohmann::json file = tokenizer_of(world);
  for (const nlohmann::json& merge : file["model"]["merges"]) {
    merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return merges;
}

void serve(World& world) {
  world.serve_gguf();
}

/// Merged, base and adapter put BOS before texts, and the template writes it into chats.
void begin_with_bos(const World& world, bool texts) {
  for (const char* folder : {"base", "merged"}) {
    const std::string name = folder;
    world.edit(name + "/tokenizer_config.json",
               [&](nlohmann::json& c) { c["add_bos_token"] = texts; });
    world.write(name + "/chat_template.jinja",
                "{{ bos_token }}" + world.text(name + "/chat_template.jinja"));
  }
  world.remove("adapter/chat_template.jinja");
  world.remove("adapter/tokenizer_config.json");
}

}  // namespace

std::span<const Case> gguf_cases() {
  static const std::vector<Case> cases = {
      {"gguf.tokens", "two-swapped", "demo",
       [](World& w) {
         w.serve_gguf([&](GgufWriter& g) {
           std::vector<std::string> tokens = tokens_of(w);
           std::swap(tokens[1000], tokens[1001]);
           g.texts("tokenizer.ggml.tokens", tokens);
         });
       },
       false,
       [](World& w) {  // a padded vocabulary has more
         w.serve_gguf([&](GgufWriter& g) {
           std::vector<std::string> tokens = tokens_of(w);
           tokens.push_back("[PAD2048]");
           g.texts("tokenizer.ggml.tokens", tokens);
         });
       }},
      {"gguf.tokens", "none", "demo",
       [](World& w) { w.serve_gguf([](GgufWriter& g) { g.erase("tokenizer.ggml.tokens"); }); }},
      {"gguf.token-types", "special-as-normal", "demo",
       [](World& w) {
         w.serve_gguf([](GgufWriter& g) {
           g.numbers("tokenizer.ggml.token_type", std::vector<std::int32_t>(2048, 1));
         });
       },
       false, serve},
      {"gguf.merges", "two-swapped", "demo",
       [](World& w) {
         w.serve_gguf([&](GgufWriter& g) {
           std::vector<std::string> merges = merges_of(w);
           std::swap(merges[100], merges[101]);
           g.texts("tokenizer.ggml.merges", merges);
         });
       }},
      {"gguf.merges", "last-cut", "demo",
       [](World& w) {
         w.serve_gguf([&](GgufWriter& g) {
           std::vector<std::string> merges = merges_of(w);
           merges.pop_back();
           g.texts("tokenizer.ggml.merges", merges);
         });
       }},
      {"gguf.pre-tokenizer", "unnamed", "demo",
       [](World& w) { w.serve_gguf([](GgufWriter& g) { g.erase("tokenizer.ggml.pre"); }); }},
      {"gguf.special-ids", "eos", "demo",
       [](World& w) {
         w.serve_gguf([](GgufWriter& g) { g.number("tokenizer.ggml.eos_token_id", 1); });
       }},
      {"gguf.special-ids", "bos", "demo",
       [](World& w) {
         w.serve_gguf([](GgufWriter& g) { g.number("tokenizer.ggml.bos_token_id", 1); });
       }},
      {"gguf.added-ends", "bos-added", "demo",
       [](World& w) {
         w.serve_gguf([](GgufWriter& g) { g.flag("tokenizer.ggml.add_bos_token", true); });
       }},
      {"gguf.added-ends", "bos-by-default", "demo",
       [](World& w) {
         w.serve_gguf([](GgufWriter& g) {
           g.text("tokenizer.ggml.pre", "llama-bpe");
           g.erase("tokenizer.ggml.add_bos_token");
         });
       }},
      {"gguf.template", "other", "demo",
       [](World& w) {
         w.serve_gguf([](GgufWriter& g) {
           g.text("tokenizer.chat_template",
                  "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}");
         });
       },
       false,
       [](World& w) {  // another text that renders the same chats
         w.serve_gguf([&](GgufWriter& g) {
           g.text("tokenizer.chat_template",
                  "{# converted #}" + w.text("merged/chat_template.jinja"));
         });
       }},
      {"gguf.template", "none", "demo",
       [](World& w) { w.serve_gguf([](GgufWriter& g) { g.erase("tokenizer.chat_template"); }); }},
      {"gguf.template", "broken", "demo",
       [](World& w) {
         w.serve_gguf([](GgufWriter& g) { g.text("tokenizer.chat_template", "{% for"); });
       }},
      {"gguf.double-bos", "both", "demo",
       [](World& w) {
         begin_with_bos(w, true);
         w.serve_gguf();
       },
       false,
       [](World& w) {
         begin_with_bos(w, false);
         w.serve_gguf();
       }},
      {"gguf.config", "theta", "demo",
       [](World& w) {
         w.serve_gguf([](GgufWriter& g) { g.real("llama.rope.freq_base", 20000.0F); });
       }},
      {"gguf.config", "unknown-architecture", "demo",
       [](World& w) {
         w.serve_gguf([](GgufWriter& g) { g.text("general.architecture", "mamba"); });
       }},
  };
  return cases;
}

}  // namespace mg::lint
