#!/usr/bin/env bash
# The audit of a real model against reading its two checkpoints: both from the page cache, in turn, medians of five.
# Prints the ratio of the times and the audit's peak of anonymous memory; fails where one is over its limit or the audit passes no
# definite verdict.  Ratios, not seconds, are what travels between machines; on a busy one, repeat.
# usage: tests/bench/audit_against_cat.sh FOLDER [MERGEGAUGE]     FOLDER: base/, adapter/, merged/, as tests/smollm2/make.sh writes it
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
folder=$1
program=${2:-$(dirname "${BASH_SOURCE[0]}")/../../build/release/mergegauge}
rounds=5
time_limit=5     # times cat
memory_limit=100 # MB, anonymous
[ -x "$program" ] || { echo "no program at $program: build it first, or name it" >&2; exit 2; }

shopt -s nullglob
files=("$folder"/base/*.safetensors "$folder"/merged/*.safetensors)
[ ${#files[@]} -ge 2 ] || { echo "$folder holds no base/ and merged/ with safetensors" >&2; exit 2; }

audit() { "$program" audit --base "$folder/base" --adapter "$folder/adapter" --merged "$folder/merged"; }
read_both() { cat "${files[@]}" >/dev/null; }

# Microseconds of wall time.
timed() {
  local begin=${EPOCHREALTIME/./} end
  "$@" >/dev/null
  end=${EPOCHREALTIME/./}
  echo $((end - begin))
}
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }

read_both  # into the page cache
verdict=$(audit) || [ $? -eq 1 ] || { echo "no definite verdict: exit $?" >&2; exit 1; }
verdict=${verdict%%$'\n'*}

audits=() cats=()
for ((i = 0; i < rounds; ++i)); do
  audits+=("$(timed audit)")
  cats+=("$(timed read_both)")
done

# Anonymous memory: sampled as resident; and a run that the kernel would stop (RLIMIT_DATA counts all private writable memory,
# resident or not) above the limit.
peak=0
"$program" audit --base "$folder/base" --adapter "$folder/adapter" --merged "$folder/merged" >/dev/null &
pid=$!
while now=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
  ((now > peak)) && peak=$now
done
wait "$pid" || true
bounded=yes
(ulimit -d $((memory_limit * 1024)) && audit >/dev/null) || [ $? -eq 1 ] || bounded=no

awk -v a="$(median "${audits[@]}")" -v c="$(median "${cats[@]}")" -v peak="$peak" -v bounded="$bounded" -v verdict="$verdict" \
    -v tl="$time_limit" -v ml="$memory_limit" -v bytes="$(du -cbL "${files[@]}" | tail -1 | cut -f1)" 'BEGIN {
  printf "verdict  %s\n", verdict
  printf "time     audit %.3f s, cat of both checkpoints %.3f s: %.2f x (limit %d x)\n", a / 1e6, c / 1e6, a / c, tl
  printf "memory   %.1f MB anonymous at the most, %.1f %% of the %.0f MB audited (limit %d MB); runs within a hard limit of %d MB: %s\n",
         peak / 1024, peak * 1024 * 100 / bytes, bytes / 1e6, ml, ml, bounded
  exit !(a / c < tl && peak / 1024 < ml && bounded == "yes")
}'
