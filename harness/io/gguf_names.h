// Names and row order of llama.cpp's files against those of Hugging Face checkpoints, for whole
// models (gguf_model.h) and adapters (gguf_adapter.h).  Tested through both.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "harness/io/gguf_config.h"

namespace mg {

/// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; empty for a name that is not
/// known.
std::string gguf_checkpoint_name(std::string_view name, const GgufFamily& family);

/// Whether the tensor of this checkpoint name has its rows interleaved in the file.
bool gguf_interleaves(std::string_view checkpoint_name, const GgufFamily& family);

/// Row of the file that holds row `row` of the checkpoint: of each head, the file has the rows of
/// the two halves by turns (llama.cpp's conversion/llama.py, LlamaModel.permute).
std::int64_t gguf_interleaved_row(std::int64_t row, std::int64_t head_dim);

}  // namespace mg
