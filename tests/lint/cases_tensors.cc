// Names, shapes, dtypes and quantised weights.
#include "tests/lint/cases.h"

namespace mg::lint {
namespace {

const nlohmann::json kBitsAndBytes = {
    {"quant_method", "bitsandbytes"}, {"load_in_4bit", true}, {"bnb_4bit_quant_type", "nf4"}};

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

/// transformers 4.52's names for a Qwen2-VL checkpoint.
std::string nested_name(const std::string& name) {
  if (name.rfind("model.", 0) == 0) {
    return "model.language_model." + name.substr(6);
  }
  return name.rfind("visual.", 0) == 0 ? "model." + name : name;
}

/// Gives a folder's text keys a text_config, as newer multimodal files have.
void nest_text_config(const World& world, const std::string& file) {
  world.edit(file, [](nlohmann::json& config) {
    nlohmann::json text;
    for (const char* key :
         {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
          "num_key_value_heads", "rms_norm_eps", "rope_theta", "rope_scaling", "vocab_size",
          "max_position_embeddings", "hidden_act", "sliding_window", "use_sliding_window",
          "max_window_layers", "tie_word_embeddings", "layer_types"}) {
      if (config.contains(key)) {
        text[key] = config[key];
        config.erase(key);
      }
    }
    text["model_type"] = "qwen2_vl_text";
    config["text_config"] = text;
    config["tie_word_embeddings"] = text["tie_word_embeddings"];
  });
}

void nest_all(World& world) {
  nest_text_config(world, "merged/config.json");
  nest_text_config(world, "base/config.json");
}

void set_config(const World& world, const char* key, const nlohmann::json& value) {
  world.edit("merged/config.json", [&](nlohmann::json& config) { config[key] = value; });
}

void add_mtp(World& world) {
  world.edit_tensors(
      [](TensorFile& f) {
        f.add("mtp.layers.0.mlp.up_proj.weight", "F16", {8, 8});
      },
      "base/model.safetensors");
}

void cast_norm_to_f32(World& world, const std::string& file) {
  world.edit_tensors([](TensorFile& f) { f.add("model.norm.weight", "F32", {64}); }, file);
}

void share_kv(World& world) {
  make_unknown(world);
  for (const char* file : {"merged/config.json", "base/config.json"}) {
    world.edit(file, [](nlohmann::json& config) { config["num_kv_shared_layers"] = 1; });
  }
}

void erase_k(World& world, int layer) {
  world.edit_tensors([layer](TensorFile& f) {
    f.erase("model.layers." + std::to_string(layer) + ".self_attn.k_proj.weight");
  });
}

}  // namespace

std::span<const Case> tensor_cases() {
  static const std::vector<Case> cases = {
      {"config.leftover-quantization", "bitsandbytes", "golden/qwen2",
       [](World& w) { set_config(w, "quantization_config", kBitsAndBytes); }, true},
      {"config.leftover-quantization", "old-switches", "golden/qwen2",
       [](World& w) {
         set_config(w, "quantization_config", {{"load_in_4bit", true}});
       },
       true},
      {"config.leftover-quantization", "awq", "golden/qwen2",
       [](World& w) {
         set_config(w, "quantization_config", {{"quant_method", "awq"}});
       },
       true, [](World& w) { set_config(w, "quantization_config", nullptr); }},
      {"config.leftover-quantization-nested", "vision", "golden/qwen2-vl",
       [](World& w) {
         w.edit("merged/config.json", [](nlohmann::json& c) {
           c["vision_config"]["quantization_config"] = kBitsAndBytes;
         });
       },
       true},
      {"config.leftover-quantization-nested", "text", "golden/qwen2-vl",
       [](World& w) {
         nest_all(w);
         w.edit("merged/config.json",
                [](nlohmann::json& c) { c["text_config"]["quantization_config"] = kBitsAndBytes; });
       },
       true, nest_all},
      {"tensors.packed", "absmax", "golden/qwen2",
       [](World& w) {
         w.edit_tensors(
             [](TensorFile& f) { f.add("model.layers.0.mlp.up_proj.weight.absmax", "F32", {8}); });
       }},
      {"tensors.packed", "codes-of-the-base", "golden/qwen2",
       [](World& w) {
         std::filesystem::copy_file(
             std::filesystem::path(MG_TEST_DATA) / "golden/qwen2-nf4/base/model.safetensors",
             w.path("merged/model.safetensors"), std::filesystem::copy_options::overwrite_existing);
       }},
      {"config.quantization-kind", "eight-for-four", "golden/qwen2-nf4",
       [](World& w) {
         set_config(w, "quantization_config", nullptr);  // merged's own leftover is F01
         w.edit("base/config.json", [](nlohmann::json& c) {
           c["quantization_config"]["load_in_4bit"] = false;
           c["quantization_config"]["load_in_8bit"] = true;
         });
       },
       false, [](World& w) { set_config(w, "quantization_config", nullptr); }},
      {"tensors.codes-without-scale", "fp8", "golden/qwen2",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) {
           const Shape shape = f.tensors.at("model.layers.0.mlp.up_proj.weight").shape;
           f.add("model.layers.0.mlp.up_proj.weight", "F8_E4M3", shape);
         });
       }},
      {"config.dtype", "declares-bf16", "golden/qwen2",
       [](World& w) { set_config(w, "torch_dtype", "bfloat16"); }, true,
       [](World& w) { set_config(w, "torch_dtype", "torch.float16"); }},
      {"config.dtype-keys", "disagree", "golden/qwen2",
       [](World& w) { set_config(w, "dtype", "bfloat16"); }, true,
       [](World& w) { set_config(w, "dtype", "float16"); }},
      {"tensors.dtype", "norm-widened", "golden/qwen2",
       [](World& w) { cast_norm_to_f32(w, "merged/model.safetensors"); }, false,
       [](World& w) {  // an F32 island that the base has too
         cast_norm_to_f32(w, "merged/model.safetensors");
         cast_norm_to_f32(w, "base/model.safetensors");
       }},
      {"tensors.dtype", "norm-narrowed", "golden/qwen2",
       [](World& w) { cast_norm_to_f32(w, "base/model.safetensors"); }},
      {"names.peft-wrapping", "prefix", "golden/qwen2",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) {
           f.rename_all([](const std::string& name) { return "base_model.model." + name; });
         });
       },
       true},
      {"names.peft-wrapping", "base-layer", "golden/qwen2",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) {
           f.rename("model.layers.0.mlp.up_proj.weight",
                    "model.layers.0.mlp.up_proj.base_layer.weight");
         });
       },
       true},
      {"names.peft-wrapping", "modules-to-save", "golden/qwen2",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) {
           f.tensors["lm_head.original_module.weight"] = f.tensors.at("lm_head.weight");
           f.rename("lm_head.weight", "lm_head.modules_to_save.default.weight");
         });
       },
       true},
      {"names.peft-wrapping", "unfolded-pair", "golden/qwen2",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) {
           f.rename("model.layers.0.mlp.up_proj.weight",
                    "model.layers.0.mlp.up_proj.base_layer.weight");
           f.add("model.layers.0.mlp.up_proj.lora_A.default.weight", "F16", {8, 64});
           f.add("model.layers.0.mlp.up_proj.lora_B.default.weight", "F16", {128, 8});
         });
       }},
      {"names.trainer-wrapping", "ddp", "golden/qwen2",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) {
           f.rename_all([](const std::string& name) { return "module." + name; });
         });
       },
       true},
      {"names.trainer-wrapping", "compile", "golden/qwen2",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) {
           f.rename_all([](const std::string& name) {
             return replaced(name, "layers.0.", "layers.0._orig_mod.");
           });
         });
       },
       true},
      {"names.bare-backbone", "no-model-level", "golden/qwen2",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) {
           f.rename_all([](const std::string& name) {
             return name.rfind("model.", 0) == 0 ? name.substr(6) : name;
           });
         });
       },
       true},
      {"names.mixed-generations", "vision-nested", "golden/qwen2-vl",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) {
           f.rename_all([](const std::string& name) {
             return name.rfind("visual.", 0) == 0 ? "model." + name : name;
           });
         });
       },
       true},
      {"names.mixed-generations", "twice", "golden/qwen2-vl",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) {
           f.tensors["model.language_model.norm.weight"] = f.tensors.at("model.norm.weight");
         });
       }},
      {"names.other-generation", "nested", "golden/qwen2-vl",
       [](World& w) { w.edit_tensors([](TensorFile& f) { f.rename_all(nested_name); }); }, true,
       [](World& w) {
         w.edit_tensors([](TensorFile& f) { f.rename_all(nested_name); });
         w.edit_tensors([](TensorFile& f) { f.rename_all(nested_name); }, "base/model.safetensors");
       }},
      {"tensors.missing", "one-norm", "golden/qwen2",
       [](World& w) { w.edit_tensors([](TensorFile& f) { f.erase("model.norm.weight"); }); }},
      {"tensors.missing", "unknown-architecture", "golden/qwen2",
       [](World& w) {
         make_unknown(w);
         w.edit_tensors([](TensorFile& f) { f.erase("model.norm.weight"); });
       },
       false, make_unknown},
      {"tensors.incomplete", "half-the-layers", "golden/qwen2",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) {
           std::erase_if(f.tensors, [](const auto& item) {
             return item.first.find("layers.1.") != std::string::npos ||
                    item.first.find("layers.2.") != std::string::npos;
           });
         });
       }},
      {"tensors.unexpected", "other-layers", "golden/qwen2",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) { f.add("model.layers.9.mlp.extra", "F16", {4}); });
       },
       false,
       [](World& w) {  // a buffer that old exporters stored
         w.edit_tensors([](TensorFile& f) {
           f.add("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {8});
         });
       }},
      {"tensors.shape", "wider", "golden/qwen2",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) {
           f.add("model.layers.0.mlp.up_proj.weight", "F16", {130, 64});
         });
       }},
      {"tensors.vision", "text-config", "golden/qwen2",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) { f.add("visual.merger.ln_q.weight", "F16", {8}); });
       }},
      {"tensors.vision", "no-tower", "golden/qwen2-vl",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) {
           std::erase_if(f.tensors,
                         [](const auto& item) { return item.first.rfind("visual.", 0) == 0; });
         });
       }},
      {"config.no-architecture", "null", "golden/qwen2",
       [](World& w) { set_config(w, "architectures", nullptr); }, true},
      {"tensors.auxiliary-dropped", "mtp", "golden/qwen2", add_mtp, true,
       [](World& w) {
         add_mtp(w);
         w.edit_tensors([](TensorFile& f) {
           f.add("mtp.layers.0.mlp.up_proj.weight", "F16", {8, 8});
         });
       }},
      {"tensors.shared-kv", "own-layer", "golden/qwen2",
       [](World& w) {
         share_kv(w);
         erase_k(w, 0);
       },
       true,
       [](World& w) {  // the last layer shares: absent as transformers saves it
         share_kv(w);
         erase_k(w, 2);
       }},
      {"tensors.experts-missing", "one-expert", "golden/qwen3-moe",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) {
           std::erase_if(f.tensors, [](const auto& item) {
             return item.first.find("layers.0.mlp.experts.1.") != std::string::npos;
           });
         });
       }},
      {"head.missing", "untied", "golden/qwen2",
       [](World& w) { w.edit_tensors([](TensorFile& f) { f.erase("lm_head.weight"); }); }, true},
      {"head.missing", "base-tied", "golden/llama-tied",
       [](World& w) { set_config(w, "tie_word_embeddings", false); }, true},
      {"head.tie-flag", "levels-disagree", "golden/qwen2-vl",
       [](World& w) {
         nest_all(w);
         w.edit("merged/config.json",
                [](nlohmann::json& c) { c["text_config"]["tie_word_embeddings"] = true; });
       },
       true,
       [](World& w) {  // as some classes of transformers write it, the base's file too
         nest_all(w);
         for (const char* file : {"merged/config.json", "base/config.json"}) {
           w.edit(file, [](nlohmann::json& c) { c["text_config"]["tie_word_embeddings"] = true; });
         }
       }},
      {"head.tied-but-stored", "flag-left", "golden/qwen2",
       [](World& w) { set_config(w, "tie_word_embeddings", true); }, true,
       [](World& w) {
         for (const char* file : {"merged/config.json", "base/config.json"}) {
           w.edit(file, [](nlohmann::json& c) { c["tie_word_embeddings"] = true; });
         }
       }},
      {"head.tied-one-side", "embedding-saved", "golden/llama-tied",
       [](World& w) {
         w.edit("adapter/adapter_config.json",
                [](nlohmann::json& c) { c["modules_to_save"] = {"embed_tokens"}; });
         w.edit_tensors(
             [&](TensorFile& f) {
               f.tensors["base_model.model.model.embed_tokens.weight"] =
                   TensorFile::read(w.path("base/model.safetensors"))
                       .tensors.at("model.embed_tokens.weight");
             },
             "adapter/adapter_model.safetensors");
       }},
      {"vocabulary.rows", "key", "golden/qwen2", [](World& w) { set_config(w, "vocab_size", 300); },
       true},
      {"vocabulary.rows", "head-shorter", "golden/qwen2",
       [](World& w) {
         w.edit_tensors([](TensorFile& f) { f.add("lm_head.weight", "F16", {300, 64}); });
       }},
  };
  return cases;
}

}  // namespace mg::lint
