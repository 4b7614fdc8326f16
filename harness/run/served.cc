#include "harness/run/served.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "harness/io/gguf.h"
#include "kernels/core/error.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

std::string own_name(const std::filesystem::path& path) {
  const std::filesystem::path clean = path.has_filename() ? path : path.parent_path();  // "folder/"
  return clean.extension() == ".gguf" ? clean.stem().string() : clean.filename().string();
}

bool is_taken(const std::string& name) {
  constexpr auto kRunLanes =
      std::to_array<std::string_view>({"", "base", "adapter", "merged", "trained", "given",
                                       "remerge", "remerge-f16", "remerge-bf16", "remerge-f32"});
  return std::find(kRunLanes.begin(), kRunLanes.end(), name) != kRunLanes.end();
}

struct Size {
  const char* name;
  std::int64_t ModelConfig::*member;
};

constexpr auto kSizes =
    std::to_array<Size>({{"layers", &ModelConfig::num_hidden_layers},
                         {"hidden size", &ModelConfig::hidden_size},
                         {"intermediate size", &ModelConfig::intermediate_size},
                         {"heads", &ModelConfig::num_attention_heads},
                         {"key/value heads", &ModelConfig::num_key_value_heads},
                         {"head size", &ModelConfig::head_dim},
                         {"experts", &ModelConfig::num_experts},
                         {"width of an expert", &ModelConfig::moe_intermediate_size}});

/// llama.cpp writes Mistral as "llama": the same layers, but for a window that it leaves out.
std::string family_of(const ModelConfig& config) {
  return config.architecture == "MistralForCausalLM" ? "LlamaForCausalLM" : config.architecture;
}

void require_same_architecture(const OpenModel& served, const OpenModel& merged,
                               const std::filesystem::path& path) {
  const ModelConfig& ours = served.model.config;
  const ModelConfig& theirs = merged.model.config;
  const auto fail = [&](std::string what, std::string expected, std::string actual) {
    throw Error({.code = "served.architecture",
                 .what = "the model of --also " + std::move(what),
                 .where = path.string(),
                 .expected = std::move(expected),
                 .actual = std::move(actual),
                 .hint = "give the file that was made from merged"});
  };
  if (family_of(ours) != family_of(theirs)) {
    fail("is of another architecture than merged", theirs.architecture, ours.architecture);
  }
  std::vector<std::string> expected;
  std::vector<std::string> actual;
  for (const Size& size : kSizes) {
    if (ours.*size.member != theirs.*size.member) {
      expected.push_back(fmt::format("{} {}", theirs.*size.member, size.name));
      actual.push_back(fmt::format("{} {}", ours.*size.member, size.name));
    }
  }
  if (!expected.empty()) {
    fail("has other sizes than merged", fmt::format("{}", fmt::join(expected, ", ")),
         fmt::format("{}", fmt::join(actual, ", ")));
  }
  if (ours.vision.has_value() != theirs.vision.has_value()) {
    fail("differs from merged: one of the two has a vision tower",
         theirs.vision ? "a tower" : "none", ours.vision ? "a tower" : "none");
  }
}

std::string format_of(const Checkpoint& checkpoint) {
  if (checkpoint.gguf() != nullptr) {
    return fmt::format("GGUF {}", checkpoint.gguf()->header().version);
  }
  return checkpoint.quantised().empty() ? "safetensors" : "safetensors with codes";
}

std::string stored_format(const StoredTensor& tensor) {
  return tensor.quantised != nullptr ? tensor.quantised->format
                                     : std::string(dtype_name(tensor.view.dtype));
}

std::size_t stored_bytes(const StoredTensor& tensor) {
  return tensor.quantised != nullptr ? tensor.quantised->stored_bytes() : tensor.view.bytes;
}

Finding finding_of(std::string rule, std::vector<std::string> catalogue, Severity severity,
                   const std::string& lane) {
  Finding f;
  f.rule = std::move(rule);
  f.catalogue = std::move(catalogue);
  f.severity = severity;
  f.command = "served";
  f.subject = lane;
  return f;
}

}  // namespace

std::vector<std::string> served_lanes(const std::vector<std::filesystem::path>& paths) {
  std::vector<std::string> names;
  for (const std::filesystem::path& path : paths) {
    const std::string own = own_name(path);
    std::string name = own;
    for (int n = 2; is_taken(name) || std::find(names.begin(), names.end(), name) != names.end();
         ++n) {
      name = fmt::format("{}-{}", own, n);
    }
    names.push_back(std::move(name));
  }
  return names;
}

OpenServed open_served(const std::filesystem::path& path, const std::string& lane,
                       const OpenModel& merged, BlockOrder block_order) {
  OpenServed served{.path = path, .lane = lane, .model = nullptr};
  served.model = std::make_unique<OpenModel>(path, block_order);
  require_same_architecture(*served.model, merged, path);
  served.model->model.require_complete(served.model->checkpoint);
  require_plain_weights(*served.model);
  return served;
}

double bits_per_weight(const OpenModel& model) {
  double bytes = 0;
  double elements = 0;
  for (const ResolvedTensor& tensor : model.model.tensors) {
    if (tensor.layer >= 0 && tensor.stored != nullptr && tensor.shape.size() >= 2) {
      bytes += static_cast<double>(stored_bytes(*tensor.stored));
      elements += static_cast<double>(element_count(tensor.shape).value_or(0));
    }
  }
  return elements > 0 ? 8 * bytes / elements : 0;
}

AlsoModel describe_served(const OpenServed& served, const std::string& profile) {
  const Checkpoint& checkpoint = served.model->checkpoint;
  AlsoModel out;
  out.lane = served.lane;
  out.path = served.path.string();
  out.format = format_of(checkpoint);
  out.gates = profile;
  out.bits_per_weight = bits_per_weight(*served.model);
  std::map<std::string, StoredShare> shares;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    StoredShare& share = shares[stored_format(tensor)];
    ++share.tensors;
    share.bytes += stored_bytes(tensor);
    out.bytes += stored_bytes(tensor);
  }
  for (auto& [name, share] : shares) {
    share.format = name;
    out.stored.push_back(share);
  }
  std::stable_sort(
      out.stored.begin(), out.stored.end(),
      [](const StoredShare& left, const StoredShare& right) { return left.bytes > right.bytes; });
  return out;
}

std::vector<Finding> vocabulary_findings(const OpenServed& served, const OpenModel& merged) {
  const std::int64_t ours = served.model->model.config.vocab_size;
  const std::int64_t theirs = merged.model.config.vocab_size;
  if (ours == theirs) {
    return {};
  }
  Finding f = finding_of("served.vocabulary", {"F36"}, Severity::kWarning, served.lane);
  f.message = fmt::format(
      "{} has {} rows of logits {} than merged: they are left out of every comparison of this run",
      served.lane, std::abs(ours - theirs), ours > theirs ? "more" : "fewer");
  f.expected = fmt::format("{} tokens", theirs);
  f.actual = fmt::format("{} tokens", ours);
  f.fix = Fix{false,
              "rows behind the last token are padding; where they are not, convert merged "
              "again"};
  return {std::move(f)};
}

std::vector<Finding> effect_findings(const Comparison& comparison) {
  const Ratio& slope = comparison.ratios.slope;
  const Ratio& lost = comparison.ratios.mer;
  // Noise that knows nothing of the adapter leaves the slope at 1; at 0 lies the base's own file.
  if (slope.ci95 && slope.ci95->upper < 0.5) {
    Finding f =
        finding_of("served.not-merged", {"F07", "F58"}, Severity::kError, comparison.subject);
    f.message =
        "what is to be served answers as the base does, not as merged: it was made from the base, "
        "or without the adapter";
    f.expected = "a slope near 1: the adapter's effect on the logits, once";
    f.actual = fmt::format("{:.3g}, 95 % interval [{:.3g}, {:.3g}]", slope.value.value_or(0.0),
                           slope.ci95->lower, slope.ci95->upper);
    f.fix = Fix{false, "convert and quantise the merged folder again"};
    return {std::move(f)};
  }
  if (lost.ci95 && lost.ci95->lower > 1.0) {
    Finding f = finding_of("served.effect-buried", {"F29"}, Severity::kWarning, comparison.subject);
    f.message = fmt::format(
        "storing merged as {} changes its answers more than the fine-tune did: the delta is there "
        "on average, under noise of {:.3g} times its effect (F29b)",
        comparison.subject, lost.value.value_or(0.0));
    f.expected = "KL(merged, file) below KL(merged, base)";
    f.actual = fmt::format("{:.3g} times that", lost.value.value_or(0.0));
    f.fix = Fix{false, "serve more bits, or quantise with the fine-tune's own data as calibration"};
    return {std::move(f)};
  }
  return {};
}

}  // namespace mg
