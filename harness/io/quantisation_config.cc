#include "harness/io/quantisation_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "harness/io/json_file.h"
#include "harness/io/python_regex.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

constexpr std::string_view kRead = "gptq, awq, fp8, mxfp4, compressed-tensors or bitsandbytes";
// quantizers/auto.py of transformers 5.23 and model_executor/layers/quantization of vLLM 0.11, less
// those that are read.
constexpr auto kMethodsElsewhere = std::to_array<std::string_view>(
    {"aqlm",        "auto-round",     "autoround",  "bitblas",      "bitnet",    "deepspeedfp",
     "eetq",        "experts_int8",   "fbgemm_fp8", "fouroversix",  "fp_quant",  "gguf",
     "gptq_marlin", "gptq_marlin_24", "higgs",      "hqq",          "inc",       "ipex",
     "marlin",      "metal",          "modelopt",   "modelopt_fp4", "moe_wna16", "nvfp4",
     "petit_nvfp4", "ptpc_fp8",       "quanto",     "quark",        "rtn",       "sinq",
     "spqr",        "torchao",        "tpu_int8",   "vptq",         "awq_marlin"});

class ObjectReader {
 public:
  ObjectReader(const nlohmann::json& json, std::string where)
      : json_(json), where_(std::move(where)) {
    if (!json.is_object()) {
      throw Error({.code = "quantised.config",
                   .what = "the description of the quantisation is not an object",
                   .where = where_,
                   .expected = "{...}",
                   .actual = std::string(json_kind(json)),
                   .hint = "take config.json from the folder the weights came from"});
    }
  }

  /// nullptr where the key is absent or null.
  const nlohmann::json* find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  /// The first of `keys` that is there.
  std::int64_t integer(std::initializer_list<const char*> keys) const {
    for (const char* key : keys) {
      if (const nlohmann::json* value = find(key)) {
        if (!value->is_number_integer()) {
          bad(key, "an integer", value->dump());
        }
        return value->get<std::int64_t>();
      }
    }
    bad(*keys.begin(), "the key", "absent");
  }

  std::optional<std::string> text(const char* key) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) {
      return std::nullopt;
    }
    if (!value->is_string()) {
      bad(key, "a string", value->dump());
    }
    std::string lower = value->get<std::string>();
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return lower;
  }

  bool flag(const char* key, bool fallback) const {
    const nlohmann::json* value = find(key);
    if (value != nullptr && !value->is_boolean()) {
      bad(key, "true or false", value->dump());
    }
    return value == nullptr ? fallback : value->get<bool>();
  }

  std::vector<std::string> texts(const char* key) const {
    std::vector<std::string> list;
    const nlohmann::json* value = find(key);
    if (value != nullptr && !value->is_array()) {
      bad(key, "a list of names", value->dump());
    }
    for (const nlohmann::json& item : value == nullptr ? nlohmann::json::array() : *value) {
      if (!item.is_string()) {
        bad(key, "a list of names", item.dump());
      }
      list.push_back(item.get<std::string>());
    }
    return list;
  }

  /// [rows, columns], or "128x128" as compressed-tensors wrote before 0.10.
  std::array<std::int64_t, 2> block(const char* key) const {
    const nlohmann::json* value = find(key);
    nlohmann::json sides = value == nullptr ? nlohmann::json() : *value;
    if (sides.is_string()) {
      std::string text = sides.get<std::string>();
      if (const std::size_t cross = text.find('x'); cross != std::string::npos) {
        text[cross] = ',';
      }
      sides = nlohmann::json::parse("[" + text + "]", nullptr, false);
    }
    std::array<std::int64_t, 2> block = {};
    for (std::size_t i = 0; sides.is_array() && sides.size() == 2 && i < 2; ++i) {
      block[i] = sides[i].is_number_integer() ? sides[i].get<std::int64_t>() : 0;
    }
    if (std::min(block[0], block[1]) < 1 || std::max(block[0], block[1]) > kLargest) {
      bad(key, "[rows, columns] of a block", value == nullptr ? "absent" : value->dump());
    }
    return block;
  }

  std::int64_t group_size(std::initializer_list<const char*> keys, bool whole) const {
    const std::int64_t size = integer(keys);
    if ((size < 1 || size > kLargest) && !(whole && size == -1)) {
      bad(*keys.begin(), whole ? "-1 or the inputs of a group" : "the inputs of a group",
          std::to_string(size));
    }
    return size;
  }

  std::string where(std::string_view key) const { return fmt::format("{}.{}", where_, key); }

  [[noreturn]] void bad(const char* key, std::string expected, std::string actual) const {
    throw Error({.code = "quantised.config",
                 .what = fmt::format("{} of the quantisation cannot be used", key),
                 .where = where(key),
                 .expected = std::move(expected),
                 .actual = std::move(actual),
                 .hint = "take config.json from the folder the weights came from"});
  }

  [[noreturn]] void unsupported(const char* key, std::string expected, std::string actual) const {
    throw Error({.code = "quantised.unsupported",
                 .what = "weights quantised like this cannot be read yet",
                 .where = where(key),
                 .expected = std::move(expected),
                 .actual = std::move(actual),
                 .hint = "give the 16-bit checkpoint that this one was quantised from"});
  }

 private:
  static constexpr std::int64_t kLargest = std::int64_t{1} << 31;

  const nlohmann::json& json_;
  std::string where_;
};

QuantisationConfig read_gptq(const ObjectReader& reader) {
  QuantisationConfig config;
  config.method = QuantMethod::kGptq;
  config.bits = reader.integer({"bits"});
  if (config.bits == 3) {
    reader.unsupported("bits", "2, 4 or 8", "3");
  }
  if (config.bits != 2 && config.bits != 4 && config.bits != 8) {
    reader.bad("bits", "2, 4 or 8", std::to_string(config.bits));
  }
  config.group_size = reader.group_size({"group_size"}, true);
  config.act_order = reader.flag("desc_act", false);
  const char* key = reader.find("checkpoint_format") != nullptr ? "checkpoint_format" : "format";
  // Files older than the key are of the first format: nothing else was written then.
  const std::string format = reader.text(key).value_or("gptq");
  if (format == "marlin" || format == "bitblas" || format == "gptq_p" || format == "gptq_pro" ||
      format == "gemm") {
    reader.unsupported(key, "gptq or gptq_v2", format);
  }
  if (format != "gptq" && format != "gptq_v2") {
    reader.bad(key, "gptq or gptq_v2", format);
  }
  config.zeros_less_one = format == "gptq";
  if (reader.flag("is_marlin_format", false)) {
    reader.unsupported("is_marlin_format", "false", "true");
  }
  if (const std::string pack = reader.text("pack_dtype").value_or("int32"); pack != "int32") {
    reader.unsupported("pack_dtype", "int32", pack);
  }
  const nlohmann::json* dynamic = reader.find("dynamic");
  for (const auto& [pattern, value] :
       (dynamic == nullptr || !dynamic->is_object() ? nlohmann::json::object() : *dynamic)
           .items()) {
    if (!pattern.starts_with("-:")) {  // modules that are left alone show that by themselves
      reader.unsupported("dynamic", "the same settings for all modules", pattern);
    }
  }
  return config;
}

QuantisationConfig read_awq(const ObjectReader& reader) {
  QuantisationConfig config;
  config.method = QuantMethod::kAwq;
  config.bits = reader.integer({"bits", "w_bit"});
  if (config.bits != 4) {
    reader.bad("bits", "4", std::to_string(config.bits));
  }
  config.group_size = reader.group_size({"group_size", "q_group_size"}, true);
  const char* key = reader.find("version") != nullptr ? "version" : "format";
  const std::optional<std::string> version = reader.text(key);
  if (!version) {
    reader.bad("version", "gemm", "absent");
  }
  if (*version == "gemv" || *version == "gemv_fast" || *version == "marlin" ||
      *version == "exllama" || *version == "llm-awq" || *version == "ipex" ||
      *version == "bitblas") {
    reader.unsupported(key, "gemm", *version);
  }
  if (*version != "gemm") {
    reader.bad(key, "gemm", *version);
  }
  if (!reader.flag("zero_point", true)) {
    reader.unsupported("zero_point", "true", "false");
  }
  if (reader.text("backend") == "llm-awq") {
    reader.unsupported("backend", "autoawq", "llm-awq");
  }
  return config;
}

QuantisationConfig read_fp8(const ObjectReader& reader) {
  QuantisationConfig config;
  config.method = QuantMethod::kFp8;
  const std::string format = reader.text("fmt").value_or("e4m3");
  if (format == "e5m2") {
    reader.unsupported("fmt", "e4m3", format);
  }
  if (format != "e4m3") {
    reader.bad("fmt", "e4m3", format);
  }
  const std::string scales = reader.text("scale_fmt").value_or("float");
  if (scales != "float" && scales != "ue8m0") {
    reader.bad("scale_fmt", "float or ue8m0", scales);
  }
  config.exponent_scales = scales == "ue8m0";
  if (const std::string experts = reader.text("expert_dtype").value_or("fp8"); experts != "fp8") {
    reader.unsupported("expert_dtype", "fp8", experts);
  }
  if (reader.find("weight_block_size") != nullptr) {
    config.block = reader.block("weight_block_size");
  }
  return config;
}

// ---- compressed-tensors ----

void read_strategy(const ObjectReader& weights, WeightScheme& scheme) {
  using Strategy = WeightScheme::Strategy;
  const std::optional<std::string> strategy = weights.text("strategy");
  const std::string known = "tensor, channel, group or block";
  if (!strategy) {
    weights.bad("strategy", known, "absent");
  }
  if (*strategy == "tensor") {
    scheme.strategy = Strategy::kTensor;
  } else if (*strategy == "channel") {
    scheme.strategy = Strategy::kChannel;
  } else if (*strategy == "group") {
    scheme.strategy = Strategy::kGroup;
    scheme.group_size = weights.group_size({"group_size"}, false);
  } else if (*strategy == "block") {
    scheme.strategy = Strategy::kBlock;
    scheme.block = weights.block("block_structure");
  } else if (*strategy == "tensor_group" || *strategy == "token" || *strategy == "attn_head") {
    weights.unsupported("strategy", known, *strategy);
  } else {
    weights.bad("strategy", known, *strategy);
  }
}

/// "group" is what a bare true meant (compressed-tensors' ActivationOrdering).
void read_order(const ObjectReader& weights, WeightScheme& scheme) {
  const nlohmann::json* order = weights.find("actorder");
  if (order == nullptr || order->is_boolean()) {
    scheme.group_order = order != nullptr && order->get<bool>();
    return;
  }
  const std::string text = weights.text("actorder").value_or("");
  if (text != "group" && text != "weight" && text != "dynamic" && text != "static") {
    weights.bad("actorder", "group, weight, dynamic or static", text);
  }
  scheme.group_order = text == "group" || text == "dynamic";
}

WeightScheme read_scheme(const ObjectReader& group, const std::string& name,
                         const std::string& format, const char* format_key,
                         const ObjectReader& owner) {
  constexpr auto kElsewhere = std::to_array<std::string_view>(
      {"sparse-bitmask", "sparse-24-bitmask", "marlin-24", "nvfp4-pack-quantized",
       "mxfp4-pack-quantized", "mxfp6-pack-quantized", "mxfp8-quantized", "dense"});
  const std::string known = "pack-quantized, int-quantized, float-quantized or naive-quantized";
  if (std::find(kElsewhere.begin(), kElsewhere.end(), format) != kElsewhere.end()) {
    owner.unsupported(format_key, known, format);
  }
  if (format != "pack-quantized" && format != "int-quantized" && format != "float-quantized" &&
      format != "naive-quantized") {
    owner.bad(format_key, known, format.empty() ? "absent" : format);
  }
  const nlohmann::json* described = group.find("weights");
  if (described == nullptr) {
    group.bad("weights", "how the weights are quantised", "absent");
  }
  const ObjectReader weights(*described, group.where("weights"));
  WeightScheme scheme;
  scheme.group = name;
  scheme.packed = format == "pack-quantized";
  const std::string type = weights.text("type").value_or("int");
  if (type != "int" && type != "float") {
    weights.bad("type", "int or float", type);
  }
  scheme.is_float = type == "float";
  scheme.bits = weights.integer({"num_bits"});
  const bool width = scheme.bits == 8 || (scheme.packed && (scheme.bits == 4 || scheme.bits == 2));
  if (scheme.bits < 1 || scheme.bits > 8) {
    weights.bad("num_bits", "4 or 8", std::to_string(scheme.bits));
  }
  if (!width || (scheme.packed && scheme.is_float)) {
    weights.unsupported("num_bits", scheme.packed ? "integers of 2, 4 or 8 bits" : "8",
                        fmt::format("{} of {} bits", type, scheme.bits));
  }
  scheme.symmetric = weights.flag("symmetric", true);
  read_strategy(weights, scheme);
  read_order(weights, scheme);
  return scheme;
}

QuantisationConfig read_compressed_tensors(const ObjectReader& reader) {
  QuantisationConfig config;
  config.method = QuantMethod::kCompressedTensors;
  if (const nlohmann::json* sparsity = reader.find("sparsity_config");
      sparsity != nullptr && !sparsity->empty()) {
    const ObjectReader sparse(*sparsity, reader.where("sparsity_config"));
    if (const std::string format = sparse.text("format").value_or("dense"); format != "dense") {
      sparse.unsupported("format", "dense", format);
    }
  }
  if (const nlohmann::json* transform = reader.find("transform_config");
      transform != nullptr && transform->is_object() && transform->contains("config_groups") &&
      !transform->at("config_groups").empty()) {
    reader.unsupported("transform_config", "none", "transforms of weights or activations");
  }
  const nlohmann::json* groups = reader.find("config_groups");
  if (groups == nullptr || !groups->is_object() || groups->empty()) {
    reader.bad("config_groups", "a group of modules with its scheme",
               groups == nullptr ? "absent" : groups->dump());
  }
  const std::string format = reader.text("format").value_or("");
  for (const auto& [name, value] : groups->items()) {
    const ObjectReader group(value, reader.where("config_groups." + name));
    const std::vector<std::string> targets = group.texts("targets");
    if (targets.empty()) {
      group.bad("targets", "the modules of the group", "none");
    }
    const std::optional<std::string> own = group.text("format");
    config.groups.push_back(
        {.targets = ModuleNames(targets, group.where("targets")),
         .linear = std::find(targets.begin(), targets.end(), "Linear") != targets.end(),
         .scheme = read_scheme(group, name, own.value_or(format), "format", own ? group : reader)});
  }
  config.ignore = ModuleNames(reader.texts("ignore"), reader.where("ignore"));
  return config;
}

}  // namespace

ModuleNames::ModuleNames(const std::vector<std::string>& names, const std::string& where) {
  constexpr std::string_view kPattern = "re:";
  for (const std::string& name : names) {
    if (name.starts_with(kPattern)) {
      patterns_.push_back(std::make_shared<const PythonRegex>(name.substr(kPattern.size()), where));
    } else {
      names_.push_back(name);
    }
  }
}

bool ModuleNames::has_name(std::string_view module) const {
  return std::find(names_.begin(), names_.end(), module) != names_.end();
}

bool ModuleNames::has_match(std::string_view module) const {
  return std::any_of(patterns_.begin(), patterns_.end(),
                     [module](const auto& pattern) { return pattern->match(module); });
}

const WeightScheme* QuantisationConfig::scheme_of(std::string_view module) const {
  if (ignore.contains(module)) {
    return nullptr;
  }
  const auto first = [this](const auto& holds) {
    const auto found = std::find_if(groups.begin(), groups.end(), holds);
    return found == groups.end() ? nullptr : &found->scheme;
  };
  if (const auto* named = first([&](const Group& g) { return g.targets.has_name(module); })) {
    return named;
  }
  if (const auto* matched = first([&](const Group& g) { return g.targets.has_match(module); })) {
    return matched;
  }
  return first([](const Group& g) { return g.linear; });
}

const nlohmann::json* find_quantization_config(const nlohmann::json& config) {
  const auto at = [](const nlohmann::json& object) -> const nlohmann::json* {
    if (!object.is_object()) {
      return nullptr;
    }
    const auto found = object.find("quantization_config");
    return found == object.end() || found->is_null() ? nullptr : &*found;
  };
  if (const nlohmann::json* root = at(config)) {
    return root;
  }
  const auto text = config.is_object() ? config.find("text_config") : config.end();
  return text == config.end() ? nullptr : at(*text);
}

bool is_bitsandbytes(const nlohmann::json& quantization) {
  if (!quantization.is_object()) {
    return false;
  }
  const auto method = quantization.find("quant_method");
  return method == quantization.end()
             ? quantization.contains("load_in_4bit") || quantization.contains("load_in_8bit")
             : method->is_string() && method->get<std::string>() == "bitsandbytes";
}

QuantisationConfig parse_quantisation_config(const nlohmann::json& quantization,
                                             const std::string& where) {
  const ObjectReader reader(quantization, where);
  const std::optional<std::string> method = reader.text("quant_method");
  if (!method) {
    reader.bad("quant_method", std::string(kRead), "absent");
  }
  if (*method == "gptq") {
    return read_gptq(reader);
  }
  if (*method == "awq") {
    return read_awq(reader);
  }
  if (*method == "fp8") {
    return read_fp8(reader);
  }
  if (*method == "mxfp4") {
    QuantisationConfig config;
    config.method = QuantMethod::kMxfp4;
    return config;
  }
  if (*method == "compressed-tensors") {
    return read_compressed_tensors(reader);
  }
  if (std::find(kMethodsElsewhere.begin(), kMethodsElsewhere.end(), *method) !=
      kMethodsElsewhere.end()) {
    reader.unsupported("quant_method", std::string(kRead), *method);
  }
  reader.bad("quant_method", std::string(kRead), *method);
}

}  // namespace mg
