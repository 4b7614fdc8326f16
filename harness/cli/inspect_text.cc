#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "harness/cli/inspect.h"

namespace mg {
namespace {

constexpr std::size_t kShownProblems = 12;

std::string plural(std::int64_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

std::string dtype_mix(const std::vector<DTypeShare>& dtypes) {
  std::string text;
  for (const DTypeShare& share : dtypes) {
    text += (text.empty() ? "" : " + ") + share.name;
  }
  return text.empty() ? "no tensors" : text;
}

/// Label and text of each line below the verdict.
class Sheet {
 public:
  explicit Sheet(const Terminal& terminal) : terminal_(&terminal) {}

  void verdict(const std::string& what, const std::vector<std::string>& problems) {
    const std::string end = problems.empty()
                                ? terminal_->green("complete")
                                : terminal_->red(plural(static_cast<std::int64_t>(problems.size()),
                                                        "problem", "problems"));
    text_ += terminal_->bold(what) + ", " + end + "\n";
  }

  void line(std::string_view label, const std::string& text) {
    if (!text.empty()) {
      text_ += "  " + terminal_->dim(fmt::format("{:<11}", label)) + " " + text + "\n";
    }
  }

  void list(std::string_view label, const std::vector<std::string>& items, bool bad) {
    const std::size_t shown = std::min(items.size(), kShownProblems);
    for (std::size_t i = 0; i < shown; ++i) {
      const std::string head = fmt::format("{:<11}", i == 0 ? label : "");
      text_ +=
          "  " + (bad ? terminal_->red(head) : terminal_->yellow(head)) + " " + items[i] + "\n";
    }
    if (items.size() > shown) {
      line("", fmt::format("... and {} more (--json - lists all)", items.size() - shown));
    }
  }

  std::string take() { return std::move(text_); }

 private:
  const Terminal* terminal_;
  std::string text_;
};

std::string rope_text(const RopeConfig& rope) {
  using Kind = RopeConfig::Kind;
  std::string text = fmt::format("theta {}", rope.theta);
  if (rope.partial_rotary_factor != 1.0) {
    text += fmt::format(", {:g} % of each head", rope.partial_rotary_factor * 100.0);
  }
  switch (rope.kind) {
    case Kind::kDefault:
      return text;
    case Kind::kLinear:
      return text + fmt::format(", linear x{:g}", rope.factor);
    case Kind::kDynamic:
      return text + fmt::format(", dynamic x{:g} beyond {}", rope.factor,
                                rope.original_max_position_embeddings);
    case Kind::kYarn:
      return text + fmt::format(", yarn x{:g} from {}", rope.factor,
                                rope.original_max_position_embeddings);
    case Kind::kLlama3:
      return text + fmt::format(", llama3 x{:g} from {}", rope.factor,
                                rope.original_max_position_embeddings);
    case Kind::kLongRope:
      return text + fmt::format(", longrope from {}", rope.original_max_position_embeddings);
    case Kind::kMrope:
      return text + fmt::format(", M-RoPE [{}]", fmt::join(rope.mrope_section, ", "));
    case Kind::kAxial:
      return text + ", rows and columns";
  }
  return text;
}

std::string layers_text(const ModelConfig& config) {
  std::string text =
      fmt::format("{} of hidden {}, MLP {}", plural(config.num_hidden_layers, "layer", "layers"),
                  config.hidden_size, config.intermediate_size);
  text += fmt::format(", {} heads of {}", config.num_attention_heads, config.head_dim);
  if (config.num_key_value_heads != config.num_attention_heads) {
    text += fmt::format(" ({} key/value)", config.num_key_value_heads);
  }
  return text + fmt::format(", vocabulary {}", config.vocab_size);
}

std::string experts_text(const ModelConfig& config) {
  if (config.num_experts == 0) {
    return {};
  }
  const auto layers = std::count_if(config.layers.begin(), config.layers.end(),
                                    [](const LayerConfig& layer) { return layer.moe; });
  return fmt::format("{} of width {}, {} per token, in {} of {} layers", config.num_experts,
                     config.moe_intermediate_size, config.num_experts_per_tok, layers,
                     config.num_hidden_layers);
}

std::string window_text(const ModelConfig& config) {
  std::int64_t window = 0;
  std::int64_t sliding = 0;
  for (const LayerConfig& layer : config.layers) {
    window = std::max(window, layer.sliding_window);
    sliding += layer.sliding_window > 0 ? 1 : 0;
  }
  return sliding == 0 ? std::string()
                      : fmt::format("sliding over {} in {} of {} layers", window, sliding,
                                    config.num_hidden_layers);
}

std::string positions_text(const ModelConfig& config) {
  std::string text = config.learned_positions ? "learned" : "";
  for (const RopeConfig& rope : config.ropes) {
    text += (text.empty() ? "rope " : "; sliding layers ") + rope_text(rope);
  }
  return text + fmt::format(", context {}", config.max_position_embeddings);
}

std::string head_text(CheckpointFacts::Head head) {
  switch (head) {
    case CheckpointFacts::Head::kTied:
      return "tied to the embedding";
    case CheckpointFacts::Head::kOwn:
      return "its own";
    case CheckpointFacts::Head::kStoredThoughTied:
      return "declared tied, stored as well";
    case CheckpointFacts::Head::kUnknown:
      break;
  }
  return {};
}

std::string dtypes_text(const std::vector<DTypeShare>& dtypes) {
  std::vector<std::string> parts;
  for (const DTypeShare& share : dtypes) {
    parts.push_back(fmt::format("{} {} ({})", share.name,
                                plural(share.tensors, "tensor", "tensors"),
                                short_bytes(share.bytes)));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

void show_config(const ModelConfig& config, Sheet& sheet) {
  sheet.line("layers", layers_text(config));
  sheet.line("experts", experts_text(config));
  sheet.line("attention", window_text(config));
  sheet.line("positions", positions_text(config));
  if (config.vision) {
    sheet.line("vision", fmt::format("{} of {}, patches of {}",
                                     plural(config.vision->depth, "block", "blocks"),
                                     config.vision->embed_dim, config.vision->patch_size));
  }
}

std::string checkpoint_text(const CheckpointFacts& facts, const Terminal& terminal) {
  Sheet sheet(terminal);
  sheet.verdict(fmt::format("{}, {} parameters, {}", facts.architecture,
                            short_count(facts.parameters), dtype_mix(facts.dtypes)),
                facts.problems);
  sheet.list("problems", facts.problems, true);
  sheet.list("notes", facts.notes, false);
  sheet.line("folder", facts.folder);
  sheet.line("weights",
             fmt::format("{} in {}{}, {}", plural(facts.tensors, "tensor", "tensors"),
                         plural(facts.shards, "file", "files"),
                         facts.has_index ? " with an index" : "", short_bytes(facts.bytes)));
  sheet.line("dtypes", dtypes_text(facts.dtypes));
  if (facts.config) {
    show_config(*facts.config, sheet);
  }
  sheet.line("head", head_text(facts.head));
  if (facts.quantised_weights > 0) {
    const std::string method = facts.config ? facts.config->quant_method : std::string();
    sheet.line("quantised", plural(facts.quantised_weights, "weight", "weights") +
                                (method.empty() ? "" : " by " + method));
    for (const CodesShare& share : facts.codes) {
      sheet.line("", fmt::format("{} x {}", share.weights, share.format));
    }
  }
  sheet.line("tokenizer", facts.tokenizer_files.empty()
                              ? "none"
                              : fmt::format("{}", fmt::join(facts.tokenizer_files, ", ")) +
                                    (facts.has_chat_template ? ", chat template" : ""));
  if (facts.known && !facts.has_forward) {
    sheet.line("forward", "tensors and configs only: no forward pass for this architecture yet");
  }
  return sheet.take();
}

std::string kind_text(const AdapterFacts& facts) {
  std::string text = facts.dora ? "DoRA adapter" : "LoRA adapter";
  if (facts.ranks.size() == 1) {
    text += fmt::format(", rank {}", facts.ranks.front());
  } else if (!facts.ranks.empty()) {
    text += fmt::format(", ranks {}", fmt::join(facts.ranks, ", "));
  }
  if (facts.scales.size() == 1) {
    text += fmt::format(", scale {:.4g}", facts.scales.front());
  } else if (!facts.scales.empty()) {
    text += fmt::format(", scales {:.4g}..{:.4g}", facts.scales.front(), facts.scales.back());
  }
  text += ", " + plural(facts.modules, "module", "modules");
  if (facts.layers_of) {
    text += fmt::format(" in {} of {} layers", facts.layers, *facts.layers_of);
    text += facts.layers_of_base ? "" : " (seen)";
  }
  return text;
}

std::string adapter_text(const AdapterFacts& facts, const Terminal& terminal) {
  Sheet sheet(terminal);
  sheet.verdict(kind_text(facts) + ", " + dtype_mix(facts.dtypes), facts.problems);
  sheet.list("problems", facts.problems, true);
  sheet.list("notes", facts.notes, false);
  sheet.line("folder", facts.folder);
  sheet.line("base", facts.base_model.empty() ? "not named" : facts.base_model);
  sheet.line("scale", fmt::format("alpha {:g}, {}", facts.alpha,
                                  facts.rslora ? "alpha / sqrt(rank) (rsLoRA)" : "alpha / rank"));
  std::vector<std::string> targets;
  for (const TargetCount& target : facts.targets) {
    targets.push_back(fmt::format("{} x{}", target.module, target.count));
  }
  sheet.line("targets", fmt::format("{}", fmt::join(targets, ", ")));
  sheet.line("replaces", fmt::format("{}", fmt::join(facts.replaced, ", ")));
  if (facts.trained_token_rows > 0) {
    sheet.line("tokens", plural(facts.trained_token_rows, "trained row", "trained rows"));
  }
  if (facts.base_copies > 0) {
    sheet.line("copies", plural(facts.base_copies, "tensor", "tensors") +
                             " of the base, which change nothing");
  }
  sheet.line("bias", facts.lora_bias ? "lora_bias: biases are adapted as well" : "");
  sheet.line("init", facts.init == "true" || facts.init == "false" ? "" : facts.init);
  sheet.line("size", fmt::format("{} parameters, {}", short_count(facts.parameters),
                                 short_bytes(facts.bytes)));
  sheet.line("peft", facts.peft_version);
  return sheet.take();
}

}  // namespace

std::string short_count(std::int64_t count) {
  const auto value = static_cast<double>(count);
  if (count < 10'000) {
    return std::to_string(count);
  }
  if (count < 1'000'000) {
    return fmt::format("{:.1f}K", value / 1e3);
  }
  return count < 1'000'000'000 ? fmt::format("{:.1f}M", value / 1e6)
                               : fmt::format("{:.2f}B", value / 1e9);
}

std::string short_bytes(std::uint64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes < 10'000) {
    return std::to_string(bytes) + " B";
  }
  if (bytes < 1'000'000) {
    return fmt::format("{:.1f} kB", value / 1e3);
  }
  return bytes < 1'000'000'000 ? fmt::format("{:.1f} MB", value / 1e6)
                               : fmt::format("{:.2f} GB", value / 1e9);
}

std::string inspect_text(const FolderFacts& facts, const Terminal& terminal) {
  std::string text;
  if (facts.checkpoint) {
    text += checkpoint_text(*facts.checkpoint, terminal);
  }
  if (facts.adapter) {
    text += (text.empty() ? "" : "\n") + adapter_text(*facts.adapter, terminal);
  }
  return text;
}

}  // namespace mg
