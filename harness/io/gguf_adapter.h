// A LoRA adapter in one GGUF file, as llama.cpp's convert_lora_to_gguf.py writes and its
// llama-adapter.cpp reads them.  Private to harness/io: Adapter::open gives it out as the type that
// a PEFT folder gives.  Tested in tests/io/gguf_adapter_test.cc and tests/fuzz/gguf_fuzz.cc.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/adapter_parts.h"
#include "harness/io/gguf.h"

namespace mg {

struct GgufAdapterPair {
  std::string module;  // "model.layers.0.self_attn.q_proj"
  const GgufTensor* a = nullptr;
  const GgufTensor* b = nullptr;
  bool embedding = false;      // a is stored as [V, r], PEFT keeps [r, V]
  bool interleaved_b = false;  // AdapterModule::interleaved_b
};

/// What the header alone says; points into it.
struct GgufAdapterPlan {
  AdapterConfig config;
  std::vector<GgufAdapterPair> pairs;  // sorted by module
  std::vector<std::string> unrecognised;
  std::vector<ErrorParts> problems;
};

/// Throws Error "adapter.is-model", "adapter.gguf-kind", "adapter.config", "gguf.architecture"
/// where the file is no LoRA that can be computed; what is wrong with single tensors is in
/// `problems`.
GgufAdapterPlan plan_gguf_adapter(const GgufHeader& header, std::string_view file);

/// Numbers that cannot be used where they lie: codes, and an embedding's transposed A.
using GgufAdapterNumbers = std::deque<std::vector<std::byte>>;

/// The pairs of the plan; views point into `file` and `numbers`, which must outlive them.
AdapterParts read_gguf_adapter(GgufAdapterPlan plan, const GgufFile& file,
                               GgufAdapterNumbers& numbers);

}  // namespace mg
