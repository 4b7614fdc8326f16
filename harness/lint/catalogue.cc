#include "harness/lint/catalogue.h"

#include <algorithm>
#include <array>

#include "harness/lint/rules.h"

namespace mg::lint {
namespace {

constexpr auto kEntries = std::to_array<CatalogueEntry>({
    {"F01", "leftover quantization_config, top level", "", "", ""},
    {"F02", "leftover quantization_config in a sub-config", "", "", ""},
    {"F03", "packed tensors in a 16-bit checkpoint", "audit.quantised", "", ""},
    {"F04", "block-quantised base: delta in raw codes", "audit.quantised", "", ""},
    {"F05", "declared dtype is not the stored dtype", "audit.dtype", "", ""},
    {"F06", "torch_dtype / dtype key generation", "", "", ""},
    {"F07", "nothing was merged", "audit.not-merged", "compare.not-merged served.not-merged", ""},
    {"F08", "partial merge", "audit.partly-merged", "compare.layer-departs", ""},
    {"F09", "modules_to_save not copied in", "audit.not-replaced", "", ""},
    {"F10", "non-LoRA trained weights dropped", "audit.unread-weights", "", ""},
    {"F11", "auxiliary base tensors dropped on save", "audit.missing-tensor", "", ""},
    {"F12", "KV-shared layers saved without k/v", "audit.missing-tensor", "", ""},
    {"F13", "PEFT wrapper residue in names", "audit.extra-tensor", "", ""},
    {"F14", "trainer wrapper prefixes", "audit.renamed", "", ""},
    {"F15", "VLM namespace generation", "audit.renamed", "", ""},
    {"F16", "config class and tensors disagree", "audit.shape", "compare.incomplete-model", ""},
    {"F17", "adapter files left in the merged folder", "", "", ""},
    {"F18", "merged twice", "audit.scale", "", ""},
    {"F19", "wrong scale", "audit.scale", "", ""},
    {"F20", "rsLoRA scale ignored", "audit.scale", "", ""},
    {"F21", "alpha_pattern / rank_pattern ignored", "audit.scale", "", ""},
    {"F22", "DoRA magnitude dropped or normed wrongly", "audit.dora", "", ""},
    {"F23", "transposition", "audit.transposed", "", ""},
    {"F24", "embeddings, lm_head, bias: delta lost", "audit.partly-merged audit.not-replaced", "",
     ""},
    {"F25", "MoE experts", "audit.permuted-experts audit.partly-merged", "", ""},
    {"F26", "residual-base inits on the unmodified base", "audit.residual-base", "", ""},
    {"F27", "wrong base", "audit.untouched-changed", "", ""},
    {"F28", "delta added to W16 instead of dequant(W4)", "audit.quantised-base audit.merge-base",
     "compare.merge-base", ""},
    {"F29", "delta erased by re-quantisation", "audit.requantised", "served.effect-buried", ""},
    {"F30", "bf16 rounding of W + D", "audit.absorbed", "compare.rounding-cost", ""},
    {"F31", "overflow to inf/NaN", "audit.non-finite audit.headroom",
     "compare.non-finite-merged served.non-finite", ""},
    {"F32", "empty or zero adapter tensors", "audit.zero-delta", "", ""},
    {"F33", "adapter keys do not match the model", "audit.adapter-unreached", "", ""},
    {"F34", "tied embeddings trained apart", "audit.tied-head-differs", "", ""},
    {"F35", "tied model, one side adapted", "audit.tied-one-side", "", ""},
    {"F36", "vocabulary sizes disagree", "audit.shape", "served.vocabulary", ""},
    {"F37", "shared tensors refuse to save", "", "", ""},
    {"F38", "shards and index inconsistent", "", "", ""},
    {"F39", "export wrote nothing or part of it", "", "", ""},
    {"F40", "generation_config.json missing or changed", "", "", ""},
    {"F41", "tokenizer eos/pad rewritten by the exporter", "", "", ""},
    {"F42", "tokenizer files in a newer schema", "", "", ""},
    {"F43", "chat template missing, changed, or not the trained one", "", "", ""},
    {"F44", "processor / preprocessor files missing", "", "", ""},
    {"F45", "custom code files missing", "", "", ""},
    {"F46", "M-RoPE: type mrope became default", "", "", ""},
    {"F47", "rope_theta moved into rope_parameters", "", "", ""},
    {"F48", "rope scaling / lengths / window changed", "", "", ""},
    {"F49", "config stub, leftovers", "", "", ""},
    {"F50", "rank above the server's limit", "", "", ""},
    {"F51", "adapter feature the server does not support", "audit.adapter-unsupported", "", ""},
    {"F52", "target modules outside the server's list", "", "", ""},
    {"F53", "fused vs split projections", "audit.swapped-slices", "", ""},
    {"F54", "engine-side LoRA slot bugs", "audit.scale", "",
     "in a merge it shows as a scale applied twice; in a live engine only its own outputs show it, "
     "which mergegauge does not call"},
    {"F55", "adapter dtype cast at serving", "", "",
     "its size is measured by check's noise floor (`--arithmetic fp16`, `bf16`)"},
    {"F56", "batch / kernel non-determinism", "", "guard.self-compare",
     "the engine gives the same bits for any thread count and chunking; the guard fires if not"},
    {"F57", "the comparison itself is wrong", "",
     "guard.self-compare guard.exact-zero guard.effect", ""},
    {"F58", "GGUF conversion of a merged model", "", "served.not-merged", ""},
    {"F59", "safetensors header without format, or damaged", "", "", ""},
    {"F60", "tie flag at the wrong level, or lm_head absent", "", "", ""},
    {"F61", "sign flipped", "audit.scale", "", ""},
    {"F62", "only part of the rank merged", "audit.partial-rank", "", ""},
    {"F63", "tensors in the wrong place", "audit.wrong-place", "", ""},
    {"F64", "precision detour", "audit.detour", "", ""},
    {"F65", "corrupted data", "audit.corrupted audit.constant", "", ""},
});

}  // namespace

std::span<const CatalogueEntry> catalogue() {
  return kEntries;
}

std::vector<std::string> lint_rules_on(std::string_view id) {
  std::vector<std::string> found;
  for (const Rule* rule : rules()) {
    const std::vector<std::string> ids = catalogue_ids(rule->catalogue);
    if (std::find(ids.begin(), ids.end(), id) != ids.end()) {
      found.emplace_back(rule->id);
    }
  }
  return found;
}

}  // namespace mg::lint
