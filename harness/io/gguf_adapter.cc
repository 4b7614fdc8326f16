#include "harness/io/gguf_adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "harness/io/gguf_names.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

constexpr std::string_view kAlpha = "adapter.lora.alpha";
constexpr std::string_view kAlora = "adapter.alora.invocation_tokens";
constexpr std::string_view kA = ".lora_a";
constexpr std::string_view kB = ".lora_b";
constexpr std::string_view kWeight = ".weight";

std::string key_of(std::string_view file, std::string_view key) {
  return fmt::format("{}: key \"{}\"", file, key);
}

void require_lora(const GgufHeader& header, std::string_view file) {
  if (gguf_text(header, "general.type") != "adapter") {
    const std::string type = gguf_text(header, "general.type");
    throw Error({.code = "adapter.is-model",
                 .what = "this is a model, not an adapter",
                 .where = key_of(file, "general.type"),
                 .expected = "adapter",
                 .actual = type.empty() ? "none" : type,
                 .hint = "give it as --also, or as --base"});
  }
  if (const std::string kind = gguf_text(header, "adapter.type"); kind != "lora") {
    throw Error({.code = "adapter.gguf-kind",
                 .what = "only LoRA adapters are read",
                 .where = key_of(file, "adapter.type"),
                 .expected = "lora",
                 .actual = kind.empty() ? "none" : kind,
                 .hint = "convert the adapter with llama.cpp's convert_lora_to_gguf.py"});
  }
}

// llama.cpp takes 1 for the scale of a file without alpha, or with 0: a guess, and no error there.
double alpha_of(const GgufHeader& header, std::string_view file) {
  const auto found = header.metadata->find(kAlpha);
  const double alpha =
      found != header.metadata->end() && found->is_number() ? found->get<double>() : 0.0;
  if (!std::isfinite(alpha) || alpha == 0.0) {
    throw Error({.code = "adapter.config",
                 .what = "the adapter's scale is not known",
                 .where = key_of(file, kAlpha),
                 .expected = "a number other than 0",
                 .actual = found == header.metadata->end() ? "none" : found->dump(),
                 .hint = "convert the PEFT folder again; llama.cpp would take 1 for alpha / rank"});
  }
  return alpha;
}

AdapterConfig config_of(const GgufHeader& header, std::string_view file) {
  AdapterConfig config;
  config.file = std::string(file);
  config.peft_type = "LORA";
  config.gguf_architecture = gguf_text(header, "general.architecture");
  config.base_model_name_or_path = gguf_text(header, "general.base_model.0.name");
  config.lora_alpha = alpha_of(header, file);
  config.bias = "none";
  config.init_lora_weights = "true";
  if (header.metadata->contains(kAlora)) {
    config.unsupported.push_back(fmt::format("aLoRA ({})", kAlora));
  }
  return config;
}

class Planner {
 public:
  Planner(const GgufHeader& header, std::string_view file)
      : header_(header), file_(file), family_(gguf_family(header, file)) {}

  GgufAdapterPlan run() {
    plan_.config = config_of(header_, file_);
    for (const GgufTensor& tensor : header_.tensors) {
      sort_in(tensor);
    }
    for (auto& [module, pair] : pairs_) {
      finish(std::move(pair));
    }
    if (pairs_.empty() && plan_.problems.empty()) {
      problem("no-lora", "the file holds no LoRA tensors", {}, "blk.N.attn_q.weight.lora_a, ...",
              header_.tensors.empty() ? "no tensors" : "other names",
              "convert the adapter with llama.cpp's convert_lora_to_gguf.py");
    }
    describe_targets();
    return std::move(plan_);
  }

 private:
  void problem(std::string_view code, std::string what, std::string_view tensor,
               std::string expected, std::string actual, std::string hint) {
    plan_.problems.push_back(
        {.code = fmt::format("adapter.{}", code),
         .what = std::move(what),
         .where = tensor.empty() ? std::string(file_) : fmt::format("{}, {}", file_, tensor),
         .expected = std::move(expected),
         .actual = std::move(actual),
         .hint = std::move(hint)});
  }

  void sort_in(const GgufTensor& tensor) {
    const std::string_view name = tensor.name;
    const bool a = name.ends_with(kA);
    if (!a && !name.ends_with(kB)) {
      plan_.unrecognised.push_back(
          tensor.name);  // norms of mergekit: llama.cpp leaves them out too
      return;
    }
    const std::string stored =
        gguf_checkpoint_name(name.substr(0, name.size() - kA.size()), family_);
    if (!stored.ends_with(kWeight) || stored.ends_with("norm.weight")) {
      problem("gguf-tensor", "a pair belongs to no matrix that the architecture has here", name,
              "token_embd, output, blk.N. and a matrix of a layer, then .weight.lora_a or .lora_b",
              tensor.name, "use the PEFT folder that it was converted from");
      return;
    }
    GgufAdapterPair& pair = pairs_[stored];
    pair.module = stored.substr(0, stored.size() - kWeight.size());
    pair.embedding = pair.module == "model.embed_tokens";
    pair.interleaved_b = gguf_interleaves(stored, family_);
    const GgufTensor*& slot = a ? pair.a : pair.b;
    if (slot != nullptr) {  // blk.0. and blk.00. are one layer
      problem("duplicate", "two tensors stand for the same part of the adapter", name,
              "one of them", slot->name, "delete the older one");
      return;
    }
    slot = &tensor;
  }

  void finish(GgufAdapterPair pair) {
    if (pair.a == nullptr || pair.b == nullptr) {
      const GgufTensor& present = *(pair.a == nullptr ? pair.b : pair.a);
      problem("unpaired", "a low-rank pair is not complete", present.name,
              "lora_a and lora_b of the matrix", pair.a == nullptr ? "no lora_a" : "no lora_b",
              "the file was cut or filtered: convert the adapter again");
      return;
    }
    for (const GgufTensor* part : {pair.a, pair.b}) {
      if (part->shape.size() != 2 || part->shape[0] == 0 || part->shape[1] == 0) {
        problem("shape", "a low-rank factor is no matrix", part->name, "two dimensions, none 0",
                to_string(part->shape), "convert the adapter again");
        return;
      }
    }
    const std::int64_t of_a = pair.a->shape[pair.embedding ? 1 : 0];
    if (pair.b->shape[1] != of_a) {
      problem("rank-mismatch", "lora_a and lora_b of a matrix have different ranks", pair.b->name,
              to_string({pair.b->shape[0], of_a}), to_string(pair.b->shape),
              "the two factors are of different runs: convert the adapter again");
      return;
    }
    plan_.pairs.push_back(std::move(pair));
  }

  // Which modules were trained is nowhere but in the pairs; r is the rank that most of them have.
  void describe_targets() {
    std::map<std::int64_t, std::int64_t> ranks;
    plan_.config.target_modules.kind = ModuleSelector::Kind::kList;
    for (const GgufAdapterPair& pair : plan_.pairs) {
      ++ranks[pair.b->shape[1]];
      plan_.config.target_modules.names.push_back(pair.module);
    }
    std::int64_t most = 0;
    for (const auto& [rank, count] : ranks) {
      if (count > most) {
        most = count;
        plan_.config.r = rank;
      }
    }
  }

  const GgufHeader& header_;
  std::string_view file_;
  const GgufFamily& family_;
  std::map<std::string, GgufAdapterPair> pairs_;  // by the matrix
  GgufAdapterPlan plan_;
};

std::optional<DType> plain_dtype(const GgmlFormat& format) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (format.name == dtype_name(dtype)) {
      return dtype;
    }
  }
  return std::nullopt;
}

TensorView keep(std::vector<std::byte> bytes, DType dtype, Shape shape,
                GgufAdapterNumbers& numbers) {
  const std::vector<std::byte>& kept = numbers.emplace_back(std::move(bytes));
  return {.dtype = dtype, .shape = std::move(shape), .data = kept.data(), .bytes = kept.size()};
}

TensorView view_of(const GgufFile& file, const GgufTensor& tensor, GgufAdapterNumbers& numbers) {
  if (const std::optional<DType> dtype = plain_dtype(*tensor.format)) {
    return {.dtype = *dtype,
            .shape = tensor.shape,
            .data = file.data(tensor),
            .bytes = static_cast<std::size_t>(tensor.bytes)};
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.rows() * tensor.row_length()) *
                               sizeof(float));
  file.rows(tensor, 0, tensor.rows(), reinterpret_cast<float*>(bytes.data()));
  return keep(std::move(bytes), DType::kF32, tensor.shape, numbers);
}

TensorView transposed(const TensorView& view, GgufAdapterNumbers& numbers) {
  const auto rows = static_cast<std::size_t>(view.shape[0]);
  const auto cols = static_cast<std::size_t>(view.shape[1]);
  const std::size_t each = view.bytes / (rows * cols);
  std::vector<std::byte> bytes(view.bytes);
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t col = 0; col < cols; ++col) {
      std::memcpy(&bytes[(col * rows + row) * each], view.data + (row * cols + col) * each, each);
    }
  }
  return keep(std::move(bytes), view.dtype, {view.shape[1], view.shape[0]}, numbers);
}

}  // namespace

GgufAdapterPlan plan_gguf_adapter(const GgufHeader& header, std::string_view file) {
  require_lora(header, file);
  return Planner(header, file).run();
}

AdapterParts read_gguf_adapter(GgufAdapterPlan plan, const GgufFile& file,
                               GgufAdapterNumbers& numbers) {
  AdapterParts parts;
  for (const GgufAdapterPair& pair : plan.pairs) {
    AdapterModule& module = parts.modules.emplace_back();
    module.module = pair.module;
    module.kind = pair.embedding ? LowRankKind::kEmbedding : LowRankKind::kLinear;
    module.a = view_of(file, *pair.a, numbers);
    if (pair.embedding) {
      module.a = transposed(module.a, numbers);
    }
    module.b = view_of(file, *pair.b, numbers);
    module.interleaved_b = pair.interleaved_b;
    module.rank = pair.b->shape[1];
    module.alpha = plan.config.lora_alpha;
    module.scale = module.alpha / static_cast<double>(module.rank);
    module.raw_name = pair.a->name;
  }
  parts.unrecognised = std::move(plan.unrecognised);
  parts.problems = std::move(plan.problems);
  std::sort(parts.unrecognised.begin(), parts.unrecognised.end());
  return parts;
}

}  // namespace mg
