#!/usr/bin/env bash
# Memory and time of a comparison of large synthetic models: writes base, adapter and merged, compares, removes them.
#   scale.sh MERGEGAUGE WRITE_SYNTHETIC [1.5B|7B] [PROMPTS [TOKENS]]
# 1.5B takes 6 GB of disk, 7B takes 31 GB, in the folder that TMPDIR names.
set -euo pipefail

if [ $# -lt 2 ]; then
  sed -n '2,4s/^# *//p' "$0" >&2
  exit 2
fi
program=$(realpath "$1")
writer=$(realpath "$2")
size=${3:-1.5B}
case $size in
  1.5B) shape="--layers=28 --hidden=1536 --intermediate=8960 --heads=12 --kv-heads=2 --vocabulary=151936" ;;
  7B) shape="--layers=32 --hidden=4096 --intermediate=11008 --heads=32 --kv-heads=32 --vocabulary=32000" ;;
  *) echo "scale.sh: no size $size; 1.5B or 7B" >&2; exit 2 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# shellcheck disable=SC2086
"$writer" "$work" $shape --prompts="${4:-8}" --tokens="${5:-64}"
"$program" merge -q --base "$work/base" --adapter "$work/adapter" --out "$work/merged" >/dev/null
status=0
time "$program" compare -q --base "$work/base" --adapter "$work/adapter" --merged "$work/merged" --no-digests \
  --suite "$work/suite.jsonl" --json "$work/report.json" >/dev/null || status=$?
echo "$size, ${4:-8} prompts x ${5:-64} tokens, compare ended with $status"
grep -oE '"(anonymous|resident)_peak_bytes": *[0-9]+' "$work/report.json"
[ "$status" -le 1 ] || [ "$status" -eq 3 ]
