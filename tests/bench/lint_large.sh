#!/usr/bin/env bash
# How long lint takes on large checkpoints: a dense one of 145 GB and one with experts of 1.3 TB and 45,000 tensors, written as
# sparse files (headers and index are whole, tensors take no room).  Prints the median of five, for the merged folder alone and
# against a base of the same size; fails where lint finds something, for nothing is wrong with them.
# usage: tests/bench/lint_large.sh [BUILD]     BUILD: a build folder with the targets mergegauge and write_headers
set -euo pipefail
build=${1:-$(dirname "${BASH_SOURCE[0]}")/../../build/release}
program=$build/mergegauge
writer=$build/tests/bench/write_headers
for file in "$program" "$writer"; do
  [ -x "$file" ] || { echo "no program at $file: build it first (cmake --build BUILD --target mergegauge write_headers)" >&2; exit 2; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat >"$folder/dense.json" <<'JSON'
{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "torch_dtype": "bfloat16", "dtype": "bfloat16",
 "hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
 "vocab_size": 152064, "max_position_embeddings": 32768, "rope_theta": 1000000.0, "rms_norm_eps": 1e-6, "hidden_act": "silu",
 "tie_word_embeddings": false}
JSON
cat >"$folder/experts.json" <<'JSON'
{"model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], "torch_dtype": "bfloat16", "dtype": "bfloat16",
 "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61,
 "num_attention_heads": 128, "num_key_value_heads": 128, "n_routed_experts": 256, "n_shared_experts": 1,
 "first_k_dense_replace": 3, "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
 "v_head_dim": 128, "num_nextn_predict_layers": 1, "vocab_size": 129280, "max_position_embeddings": 163840,
 "rope_theta": 10000, "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": false}
JSON

median_ms() {
  local times=() begin
  for _ in 1 2 3 4 5; do
    begin=${EPOCHREALTIME/./}
    "$@" >"$folder/out"
    times+=($(((${EPOCHREALTIME/./} - begin) / 1000)))
  done
  printf '%s\n' "${times[@]}" | sort -n | sed -n 3p
}

for model in dense experts; do
  "$writer" "$folder/$model.json" "$folder/$model" 37 | sed "s/^/$model: /"
  echo "  lint MERGED                 $(median_ms "$program" lint "$folder/$model") ms"
  echo "  lint MERGED --base BASE     $(median_ms "$program" lint "$folder/$model" --base "$folder/$model") ms"
  grep -q '(0 errors, 0 warnings' "$folder/out" || { cat "$folder/out"; exit 1; }
done
