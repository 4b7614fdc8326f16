// Adapters, and what servers make of them.
#include "tests/lint/cases.h"

namespace mg::lint {
namespace {

constexpr const char* kConfig = "adapter/adapter_config.json";
constexpr const char* kWeights = "adapter/adapter_model.safetensors";
constexpr const char* kUp = "base_model.model.model.layers.0.mlp.up_proj.lora_";

void set_adapter(const World& world, const char* key, const nlohmann::json& value) {
  world.edit(kConfig, [&](nlohmann::json& config) { config[key] = value; });
}

void change(const World& world, const std::function<void(TensorFile&)>& edit) {
  world.edit_tensors(edit, kWeights);
}

void widen_rank(World& world, std::int64_t rank) {
  set_adapter(world, "r", rank);
  change(world, [rank](TensorFile& f) {
    for (auto& [name, tensor] : f.tensors) {
      Shape shape = tensor.shape;
      shape[name.find("lora_A") != std::string::npos ? 0 : 1] = rank;
      f.add(name, tensor.dtype, shape);
    }
  });
}

}  // namespace

std::span<const Case> adapter_cases() {
  static const std::vector<Case> cases = {
      {"adapter.alpha", "missing", "golden/qwen2",
       [](World& w) { w.edit(kConfig, [](nlohmann::json& c) { c.erase("lora_alpha"); }); }},
      {"adapter.alpha", "zero", "golden/qwen2", [](World& w) { set_adapter(w, "lora_alpha", 0); }},
      {"adapter.rank", "other-r", "golden/qwen2", [](World& w) { set_adapter(w, "r", 4); }},
      {"adapter.magnitudes", "one-dropped", "golden/qwen2-dora",
       [](World& w) {
         change(w, [](TensorFile& f) {
           std::erase_if(f.tensors, [](const auto& item) {
             return item.first.find("layers.0.mlp.up_proj.lora_magnitude") != std::string::npos;
           });
         });
       }},
      {"adapter.empty-tensors", "zero-rows", "golden/qwen2",
       [](World& w) {
         change(w, [](TensorFile& f) {
           f.add(std::string(kUp) + "A.weight", "F32", {0});
           f.add(std::string(kUp) + "B.weight", "F32", {0});
         });
       }},
      {"adapter.half-pairs", "no-b", "golden/qwen2",
       [](World& w) { change(w, [](TensorFile& f) { f.erase(std::string(kUp) + "B.weight"); }); }},
      {"adapter.unreached", "other-module", "golden/qwen2",
       [](World& w) {
         set_adapter(w, "target_modules", "all-linear");
         change(w, [](TensorFile& f) {
           for (const char* side : {"A", "B"}) {
             f.rename(std::string(kUp) + side + ".weight",
                      std::string("base_model.model.model.layers.0.mlp.upward.lora_") + side +
                          ".weight");
           }
         });
       }},
      {"adapter.unreached", "inner-linear", "golden/qwen2",
       [](World& w) {  // as Gemma 4's clipped layers are wrapped
         change(w, [](TensorFile& f) {
           f.rename_all([](const std::string& name) {
             const std::size_t at = name.find(".lora_");
             return name.substr(0, at) + ".linear" + name.substr(at);
           });
         });
       },
       true},
      {"adapter.shapes", "other-width", "golden/qwen2",
       [](World& w) {
         change(w, [](TensorFile& f) { f.add(std::string(kUp) + "A.weight", "F32", {8, 60}); });
       }},
      {"adapter.fused-split", "split-on-packed", "golden/phi3-packed",
       [](World& w) {
         change(w, [](TensorFile& f) {
           for (const char* side : {"A", "B"}) {
             const std::string end = std::string(".lora_") + side + ".weight";
             f.rename("base_model.model.model.layers.0.self_attn.qkv_proj" + end,
                      "base_model.model.model.layers.0.self_attn.q_proj" + end);
           }
         });
       }},
      {"adapter.unrecognised", "foreign-name", "golden/qwen2",
       [](World& w) {
         change(w, [](TensorFile& f) {
           f.add("model.layers.0.mlp.up_proj.hada_w1_a", "F32", {4, 4});
         });
       }},
      {"adapter.unreadable", "no-lora", "golden/qwen2",
       [](World& w) { set_adapter(w, "peft_type", "LOHA"); }},
      {"adapter.residual-base", "pissa", "golden/qwen2",
       [](World& w) { set_adapter(w, "init_lora_weights", "pissa_niter_4"); }, false,
       [](World& w) { set_adapter(w, "init_lora_weights", "gaussian"); }},
      {"adapter.four-bit-base", "unsloth", "golden/qwen2",
       [](World& w) {
         set_adapter(w, "base_model_name_or_path", "unsloth/Qwen2.5-7B-unsloth-bnb-4bit");
       }},
      {"adapter.saved-modules", "head-not-copied", "golden/llama-tied",
       [](World& w) {
         set_adapter(w, "modules_to_save", {"lm_head"});
         change(w, [&](TensorFile& f) {
           f.tensors["base_model.model.lm_head.weight"] =
               TensorFile::read(w.path("base/model.safetensors"))
                   .tensors.at("model.embed_tokens.weight");
         });
       },
       true},
      {"adapter.trained-beside", "projector", "golden/qwen2",
       [](World& w) {  // LLaVA's way: a model that the table does not know
         for (const char* file : {"merged/config.json", "base/config.json"}) {
           w.edit(file, [](nlohmann::json& c) {
             c["model_type"] = "llava_qwen2";
             c["architectures"] = {"LlavaQwen2ForCausalLM"};
           });
         }
         TensorFile beside;
         beside.add("model.mm_projector.0.weight", "F16", {4, 4});
         beside.write(w.path("adapter/mm_projector.safetensors"));
       },
       true,
       [](World& w) {  // merged has it
         TensorFile beside;
         beside.add("model.norm.weight", "F16", {64});
         beside.write(w.path("adapter/non_lora_state.safetensors"));
       }},
      {"adapter.trained-beside", "pickle", "golden/qwen2",
       [](World& w) { w.write("adapter/non_lora_trainables.bin", "PK"); }},
      {"serving.rank", "sixty-four", "golden/qwen2", [](World& w) { widen_rank(w, 64); }, false,
       [](World& w) { widen_rank(w, 16); }, "vllm"},
      {"serving.features", "dora", "golden/qwen2-dora", [](World&) {}, false,
       [](World& w) {
         set_adapter(w, "use_dora", false);
         change(w, [](TensorFile& f) {
           std::erase_if(f.tensors, [](const auto& item) {
             return item.first.find("magnitude") != std::string::npos;
           });
         });
       },
       "vllm"},
      {"serving.rslora",
       "gguf",
       "golden/qwen2",
       [](World& w) { set_adapter(w, "use_rslora", true); },
       false,
       {},
       "llama.cpp"},
      {"serving.patterns", "alpha", "golden/qwen2-patterns", [](World&) {}, false,
       [](World& w) {
         set_adapter(w, "rank_pattern", nlohmann::json::object());
         set_adapter(w, "alpha_pattern", nlohmann::json::object());
         set_adapter(w, "r", 8);
         change(w, [](TensorFile& f) {
           for (auto& [name, tensor] : f.tensors) {
             Shape shape = tensor.shape;
             shape[name.find("lora_A") != std::string::npos ? 0 : 1] = 8;
             f.add(name, tensor.dtype, shape);
           }
         });
       },
       "sglang"},
      {"serving.vision", "tower", "golden/qwen2-vl", [](World&) {}, false,
       [](World& w) {
         change(w, [](TensorFile& f) {
           std::erase_if(f.tensors, [](const auto& item) {
             return item.first.find("visual.") != std::string::npos;
           });
         });
       },
       "sglang"},
      {"serving.double-bos",
       "template-and-flag",
       "demo",
       [](World& w) {
         for (const char* folder : {"base/", "merged/"}) {
           const std::string name = folder;
           w.edit(name + "tokenizer_config.json",
                  [](nlohmann::json& c) { c["add_bos_token"] = true; });
           w.write(name + "chat_template.jinja",
                   "<|endoftext|>" + w.text(name + "chat_template.jinja"));
         }
       },
       false,
       {},
       "llama.cpp"},
  };
  return cases;
}

}  // namespace mg::lint
