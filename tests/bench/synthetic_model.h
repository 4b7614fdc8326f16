// Llama-shaped checkpoints and adapters of any size, random but seeded, written to disk: what
// benchmarks and memory tests run on when a real model would be a download or the wrong size.
#pragma once

#include <cstdint>
#include <filesystem>

namespace mg::test {

struct SyntheticShape {
  std::int64_t layers = 30;  // the defaults are SmolLM2-135M's
  std::int64_t hidden = 576;
  std::int64_t intermediate = 1536;
  std::int64_t heads = 9;
  std::int64_t kv_heads = 3;
  std::int64_t vocabulary = 49152;
  std::int64_t rank = 16;
};

/// base: config.json and model.safetensors (FP16, tied head).  The values are uniform, of a size
/// that keeps hidden states near 1.
void write_synthetic_base(const std::filesystem::path& folder, const SyntheticShape& shape);

/// A rank-16 adapter on every linear map, small enough to change logits a little.
void write_synthetic_adapter(const std::filesystem::path& folder, const SyntheticShape& shape);

/// `prompts` prompts of `tokens` random tokens each, as a suite.
void write_synthetic_suite(const std::filesystem::path& file, std::int64_t prompts,
                           std::int64_t tokens, std::int64_t vocabulary);

}  // namespace mg::test
