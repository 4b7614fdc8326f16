#include "tests/io/gguf_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "harness/io/chat_template/prompt_tokenizer.h"
#include "harness/io/checkpoint.h"
#include "harness/io/json_file.h"
#include "kernels/core/convert.h"
#include "kernels/core/half.h"

namespace mg {
namespace {

constexpr std::size_t kAlignment = 32;

template <typename T>
std::string raw(T value) {
  std::string out(sizeof(T), '\0');
  std::memcpy(out.data(), &value, sizeof(T));
  return out;
}

std::string raw_text(const std::string& text) {
  return raw<std::uint64_t>(text.size()) + text;
}

std::string padded(std::string bytes) {
  bytes.resize((bytes.size() + kAlignment - 1) / kAlignment * kAlignment, '\0');
  return bytes;
}

/// Blocks of 32: an FP16 scale and 32 signed bytes (ggml-quants.c, quantize_row_q8_0_ref).
std::string q8_0(const std::vector<float>& values) {
  std::string out;
  for (std::size_t begin = 0; begin < values.size(); begin += 32) {
    float most = 0.0F;
    for (std::size_t i = begin; i < begin + 32; ++i) {
      most = std::max(most, std::abs(values[i]));
    }
    const float scale = most / 127.0F;
    out += raw(float_to_half(scale));
    for (std::size_t i = begin; i < begin + 32; ++i) {
      out += static_cast<char>(scale == 0.0F ? 0 : std::lround(values[i] / scale));
    }
  }
  return out;
}

struct Matrix {
  std::vector<float> values;
  std::string bytes;  // as stored
};

/// Of each head the rows of its two halves by turns.
Matrix interleaved(const Matrix& matrix, std::int64_t rows, std::int64_t head_dim) {
  Matrix out = matrix;
  const std::size_t width = matrix.values.size() / static_cast<std::size_t>(rows);
  const std::size_t row_bytes = matrix.bytes.size() / static_cast<std::size_t>(rows);
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t inside = row % head_dim;
    const std::int64_t half = head_dim / 2;
    const auto to = static_cast<std::size_t>(row - inside + 2 * (inside % half) + inside / half);
    const auto from = static_cast<std::size_t>(row);
    std::copy_n(matrix.values.begin() + static_cast<std::ptrdiff_t>(from * width), width,
                out.values.begin() + static_cast<std::ptrdiff_t>(to * width));
    out.bytes.replace(to * row_bytes, row_bytes, matrix.bytes, from * row_bytes, row_bytes);
  }
  return out;
}

std::string gguf_name(std::string name) {
  const std::pair<const char*, const char*> parts[] = {{"model.embed_tokens", "token_embd"},
                                                       {"model.norm", "output_norm"},
                                                       {"model.layers.", "blk."},
                                                       {"input_layernorm", "attn_norm"},
                                                       {"post_attention_layernorm", "ffn_norm"},
                                                       {"self_attn.q_proj", "attn_q"},
                                                       {"self_attn.k_proj", "attn_k"},
                                                       {"self_attn.v_proj", "attn_v"},
                                                       {"self_attn.o_proj", "attn_output"},
                                                       {"mlp.gate_proj", "ffn_gate"},
                                                       {"mlp.up_proj", "ffn_up"},
                                                       {"mlp.down_proj", "ffn_down"}};
  for (const auto& [ours, theirs] : parts) {
    if (const std::size_t at = name.find(ours); at != std::string::npos) {
      name.replace(at, std::strlen(ours), theirs);
    }
  }
  return name;
}

void add_tensors(const Checkpoint& checkpoint, GgufStorage storage, GgufWriter& writer) {
  const auto head_dim = checkpoint.config().at("head_dim").get<std::int64_t>();
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    const std::int64_t count = tensor.view.elements();
    Matrix matrix{std::vector<float>(static_cast<std::size_t>(count)), {}};
    widen_to_float(tensor.view.dtype, tensor.view.data, count, matrix.values.data());
    matrix.bytes.assign(reinterpret_cast<const char*>(tensor.view.data), tensor.view.bytes);
    if (tensor.name.find("q_proj") != std::string::npos ||
        tensor.name.find("k_proj") != std::string::npos) {
      matrix = interleaved(matrix, tensor.view.shape.front(), head_dim);
    }
    std::uint32_t type = tensor.view.dtype == DType::kF16    ? 1
                         : tensor.view.dtype == DType::kBF16 ? 30
                                                             : 0;
    if (tensor.view.shape.size() < 2 || storage == GgufStorage::kF32) {
      type = 0;
      matrix.bytes.assign(reinterpret_cast<const char*>(matrix.values.data()),
                          matrix.values.size() * sizeof(float));
    } else if (storage == GgufStorage::kQ8_0) {
      type = 8;
      matrix.bytes = q8_0(matrix.values);
    }
    writer.tensor(gguf_name(tensor.name), tensor.view.shape, type, std::move(matrix.bytes));
  }
}

void add_config(const nlohmann::json& config, GgufWriter& writer) {
  const auto number = [&](const char* key, const char* ours) {
    writer.number(std::string("llama.") + key, config.at(ours).get<std::uint32_t>());
  };
  writer.text("general.architecture", "llama");
  number("block_count", "num_hidden_layers");
  number("context_length", "max_position_embeddings");
  number("embedding_length", "hidden_size");
  number("feed_forward_length", "intermediate_size");
  number("attention.head_count", "num_attention_heads");
  number("attention.head_count_kv", "num_key_value_heads");
  number("rope.dimension_count", "head_dim");
  number("vocab_size", "vocab_size");
  writer.real("llama.attention.layer_norm_rms_epsilon", config.at("rms_norm_eps").get<float>());
  writer.real("llama.rope.freq_base", config.at("rope_parameters").at("rope_theta").get<float>());
}

void add_tokenizer(const std::filesystem::path& folder, std::int64_t vocabulary,
                   GgufWriter& writer) {
  const PromptTokenizer prompts = PromptTokenizer::open(folder);
  const Tokenizer& tokenizer = prompts.tokenizer();
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  for (std::int32_t id = 0; id < vocabulary; ++id) {
    const std::optional<std::string> token = tokenizer.token_of(id);
    tokens.push_back(token.value_or("[PAD" + std::to_string(id) + "]"));
    types.push_back(!token ? 5 : tokenizer.is_special(id) ? 3 : 1);
  }
  std::vector<std::string> merges;
  const nlohmann::json file = read_json(folder / "tokenizer.json");
  for (const nlohmann::json& merge : file.at("model").at("merges")) {
    merges.push_back(merge.is_string()
                         ? merge.get<std::string>()
                         : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  writer.text("tokenizer.ggml.model", "gpt2");
  writer.text("tokenizer.ggml.pre", "smollm");
  writer.texts("tokenizer.ggml.tokens", tokens);
  writer.numbers("tokenizer.ggml.token_type", types);
  writer.texts("tokenizer.ggml.merges", merges);
  const auto& special = prompts.settings().special_tokens;
  for (const auto& [key, name] :
       {std::pair{"bos_token_id", "bos_token"}, std::pair{"eos_token_id", "eos_token"}}) {
    writer.number(std::string("tokenizer.ggml.") + key,
                  static_cast<std::uint32_t>(tokenizer.id_of(special.at(name)).value()));
  }
  writer.flag("tokenizer.ggml.add_bos_token", prompts.settings().add_bos.value_or(false));
  writer.text("tokenizer.chat_template", prompts.settings().templates.at(0).source);
}

}  // namespace

void GgufWriter::set(const std::string& key, std::uint32_t type, const std::string& payload) {
  erase(key);
  entries_.emplace_back(key, raw(type) + payload);
}

void GgufWriter::erase(const std::string& key) {
  std::erase_if(entries_, [&](const auto& entry) { return entry.first == key; });
}

void GgufWriter::text(const std::string& key, const std::string& value) {
  set(key, 8, raw_text(value));
}
void GgufWriter::number(const std::string& key, std::uint32_t value) {
  set(key, 4, raw(value));
}
void GgufWriter::real(const std::string& key, float value) {
  set(key, 6, raw(value));
}
void GgufWriter::flag(const std::string& key, bool value) {
  set(key, 7, std::string(1, value ? '\1' : '\0'));
}

void GgufWriter::texts(const std::string& key, const std::vector<std::string>& values) {
  std::string payload = raw<std::uint32_t>(8) + raw<std::uint64_t>(values.size());
  for (const std::string& value : values) {
    payload += raw_text(value);
  }
  set(key, 9, payload);
}

void GgufWriter::numbers(const std::string& key, const std::vector<std::int32_t>& values) {
  std::string payload = raw<std::uint32_t>(5) + raw<std::uint64_t>(values.size());
  for (const std::int32_t value : values) {
    payload += raw(value);
  }
  set(key, 9, payload);
}

void GgufWriter::tensor(const std::string& name, const Shape& shape, std::uint32_t type,
                        std::string bytes) {
  tensors_.push_back({name, shape, type, std::move(bytes)});
}

std::string& GgufWriter::bytes_of(const std::string& name) {
  const auto found = std::find_if(tensors_.begin(), tensors_.end(),
                                  [&](const Tensor& tensor) { return tensor.name == name; });
  if (found == tensors_.end()) {
    throw std::out_of_range(name);
  }
  return found->bytes;
}

void GgufWriter::write(const std::filesystem::path& path) const {
  std::string head = "GGUF" + raw<std::uint32_t>(3) + raw<std::uint64_t>(tensors_.size()) +
                     raw<std::uint64_t>(entries_.size());
  for (const auto& [key, value] : entries_) {
    head += raw_text(key) + value;
  }
  std::string data;
  for (const Tensor& tensor : tensors_) {
    head += raw_text(tensor.name) + raw(static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) {
      head += raw(static_cast<std::uint64_t>(*size));
    }
    head += raw(tensor.type) + raw<std::uint64_t>(data.size());
    data += padded(tensor.bytes);
  }
  std::ofstream(path, std::ios::binary) << padded(head) << data;
}

GgufWriter gguf_of_llama(const std::filesystem::path& folder, GgufStorage storage) {
  GgufWriter writer;
  const Checkpoint checkpoint = Checkpoint::open(folder);
  add_config(checkpoint.config(), writer);
  if (std::filesystem::exists(folder / "tokenizer.json")) {
    add_tokenizer(folder, checkpoint.config().at("vocab_size").get<std::int64_t>(), writer);
  }
  add_tensors(checkpoint, storage, writer);
  return writer;
}

}  // namespace mg
