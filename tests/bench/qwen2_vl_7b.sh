#!/usr/bin/env bash
# A triple of Qwen2-VL-7B's names, shapes and shards with seeded random numbers, adapter on language model, tower and merger: time and
# memory of lint, audit and compare.  Writes 33 GB into the folder that TMPDIR names, and removes them.
# usage: tests/bench/qwen2_vl_7b.sh [BUILD [CONFIG.json]]     BUILD: a build folder with the targets mergegauge and write_headers
set -euo pipefail
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
build=$(realpath "${1:-$root/build/release}")
config=$(realpath "${2:-$root/tests/model/configs/transformers4/qwen2-vl-7b.json}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

phase() {
  local name=$1 status=0 begin=${EPOCHREALTIME/./}
  shift
  "$@" >"$work/out" 2>&1 || status=$?
  echo "$name: $(((${EPOCHREALTIME/./} - begin) / 1000000)) s, exit $status"
  [ "$status" -le 1 ] || [ "$status" -eq 3 ] || { cat "$work/out"; exit 1; }
}

phase write "$build/tests/bench/write_headers" "$config" "$work/base" 5 "$work/adapter"
cat >"$work/preprocessor_config.json" <<'JSON'
{"image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14,
 "temporal_patch_size": 2, "merge_size": 2}
JSON
cp "$work/preprocessor_config.json" "$work/base"
phase merge "$build/mergegauge" merge -q --base "$work/base" --adapter "$work/adapter" --out "$work/merged"
triple=(--base "$work/base" --adapter "$work/adapter" --merged "$work/merged")
phase lint "$build/mergegauge" lint "$work/merged" --base "$work/base" --adapter "$work/adapter"
phase audit "$build/mergegauge" audit "${triple[@]}"
# Two short texts and an image of 16 x 16 patches: random pixels, 64 tokens.
python3 - "$work" <<'PYTHON'
import json, random, struct, sys
work, rng = sys.argv[1], random.Random(1)
values = struct.pack("<" + "e" * (256 * 1176), *(rng.gauss(0, 1) for _ in range(256 * 1176)))
header = json.dumps({"pixels": {"dtype": "F16", "shape": [256, 1176], "data_offsets": [0, len(values)]}}).encode()
open(work + "/pixels.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + values)
text = lambda count: [rng.randrange(16, 150000) for _ in range(count)]
lines = [{"id": "a", "input_ids": text(24)}, {"id": "b", "input_ids": text(24)},
         {"id": "image", "input_ids": text(4) + [151652] + [151655] * 64 + [151653] + text(12), "image_grid_thw": [[1, 16, 16]],
          "pixel_values": {"file": "pixels.safetensors", "tensor": "pixels"}}]
open(work + "/suite.jsonl", "w").write("\n".join(map(json.dumps, lines)))
PYTHON
phase compare "$build/mergegauge" compare -q "${triple[@]}" --no-digests --suite "$work/suite.jsonl" --json "$work/report.json"
grep -oE '"(anonymous|resident)_peak_bytes": *[0-9]+' "$work/report.json"
