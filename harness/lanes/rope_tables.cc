#include "harness/lanes/rope_tables.h"

#include <utility>

#include "harness/model/rope.h"
#include "kernels/core/error.h"

namespace mg {

namespace {

std::vector<RopePositions> whole_prompts(const Batch& batch) {
  std::vector<RopePositions> prompts;
  for (const BatchPrompt& prompt : batch.prompts) {
    const auto first = batch.positions.begin() + prompt.begin;
    prompts.push_back({prompt.length, {first, first + prompt.length}});
  }
  return prompts;
}

}  // namespace

RopeTables::RopeTables(Backend& backend, const std::vector<const ModelConfig*>& configs,
                       const Batch& batch)
    : RopeTables(backend, configs, whole_prompts(batch)) {}

RopeTables::RopeTables(Backend& backend, const std::vector<const ModelConfig*>& configs,
                       const std::vector<RopePositions>& prompts) {
  for (const RopePositions& prompt : prompts) {
    tokens_ += static_cast<std::int64_t>(prompt.positions.size());
  }
  for (const ModelConfig* config : configs) {
    for (int index = 0; index < static_cast<int>(config->ropes.size()); ++index) {
      if (find(*config, index) != nullptr) {
        continue;
      }
      const RopeConfig& rope = config->ropes[static_cast<std::size_t>(index)];
      RopeTable table;
      for (const RopePositions& prompt : prompts) {
        append_rope_rows(rope, config->head_dim, prompt.length, prompt.positions, table);
      }
      const std::int64_t cols = table.rotary_dim / 2;
      Entry entry{.rope = rope,
                  .head_dim = config->head_dim,
                  .rotary_dim = table.rotary_dim,
                  .cos = backend.allocate(tokens_ * cols),
                  .sin = backend.allocate(tokens_ * cols)};
      backend.upload(table.cos, whole(*entry.cos, tokens_, cols));
      backend.upload(table.sin, whole(*entry.sin, tokens_, cols));
      entries_.push_back(std::move(entry));
    }
  }
}

const RopeTables::Entry* RopeTables::find(const ModelConfig& config, int rope) const {
  for (const Entry& entry : entries_) {
    if (entry.rope == config.ropes[static_cast<std::size_t>(rope)] &&
        entry.head_dim == config.head_dim) {
      return &entry;
    }
  }
  return nullptr;
}

RopeRows RopeTables::rows(const ModelConfig& config, int rope, std::int64_t begin,
                          std::int64_t count) const {
  const Entry* entry = find(config, rope);
  MG_CHECK(entry != nullptr, "every lane's rope has a table");
  const std::int64_t cols = entry->rotary_dim / 2;
  return {.cos = whole(*entry->cos, tokens_, cols).row_range(begin, count),
          .sin = whole(*entry->sin, tokens_, cols).row_range(begin, count),
          .rotary_dim = entry->rotary_dim};
}

}  // namespace mg
