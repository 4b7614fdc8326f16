#!/usr/bin/env bash
# Opens report pages in headless Chromium through chromedriver (W3C WebDriver over curl) and checks them: verdict, figures,
# sorting, no error on the console, no request to anywhere, and axe's accessibility rules where its script is given.
# usage: run.sh FOLDER   with NAME.html and NAME.json, as tests/reports/render_samples writes them
#   AXE=axe.min.js  also runs axe-core: no serious or critical violation
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(cd "$1" && pwd)
port=${PORT:-$((20000 + RANDOM % 20000))}
log=$(mktemp)
chromedriver --port="$port" >"$log" 2>&1 &
driver=$!
session=
finish() {
  [ -z "$session" ] || curl -s -X DELETE "$base/session/$session" >/dev/null
  kill "$driver" 2>/dev/null
  rm -f "$log"
}
trap finish EXIT
base=http://127.0.0.1:$port
for _ in $(seq 100); do curl -s "$base/status" | grep -q '"ready":true' && break; sleep 0.1; done

post() {  # PATH JSON
  curl -s -X POST -H 'Content-Type: application/json' --data-binary @- "$base/$1" <<<"$2"
}
session=$(post session '{"capabilities":{"alwaysMatch":{"browserName":"chrome",
  "goog:chromeOptions":{"args":["--headless=new","--no-sandbox","--disable-gpu"]},
  "goog:loggingPrefs":{"browser":"ALL","performance":"ALL"}}}}' | jq -r '.value.sessionId // empty')
[ -n "$session" ] || { echo "chromedriver gave no session:"; cat "$log"; exit 1; }

post "session/$session/timeouts" '{"script":300000}' >/dev/null

failed=0
complain() { echo "FAILED $1: $2"; failed=1; }

check() {  # NAME WIDTH
  local name=$1 width=$2 status figures answer
  post "session/$session/window/rect" "{\"width\":$width,\"height\":900}" >/dev/null
  post "session/$session/url" "{\"url\":\"file://$folder/$name.html\"}" >/dev/null
  status=$(jq -r '.status | ascii_upcase' "$folder/$name.json")
  figures=$(jq '(if ([.comparisons[0].kl_histogram[]?.rows] | add // 0) > 0 then 5 else 0 end) + (if .audit then 3 else 0 end)' "$folder/$name.json")
  answer=$(post "session/$session/execute/sync" "$(jq -n --rawfile script "$here/checks.js" --arg verdict "$status" \
    --argjson figures "$figures" '{script: $script, args: [{verdict: $verdict, figures: $figures}]}')")
  [ "$(jq -c '.value' <<<"$answer")" = '[]' ] || complain "$name at $width" "$(jq -c '.value' <<<"$answer")"
  answer=$(post "session/$session/se/log" '{"type":"browser"}')
  [ "$(jq '.value | length' <<<"$answer")" = 0 ] || complain "$name console" "$(jq -c '.value' <<<"$answer")"
  answer=$(post "session/$session/se/log" '{"type":"performance"}' | jq -r '.value[].message | fromjson | .message
    | select(.method == "Network.requestWillBeSent") | .params.request.url' | grep -vE "^(file://$folder/|data:,)")
  [ -z "$answer" ] || complain "$name asks for" "$answer"
}

accessible() {  # NAME
  local answer
  post "session/$session/execute/sync" "$(jq -n --rawfile axe "$AXE" '{script: $axe, args: []}')" >/dev/null
  answer=$(post "session/$session/execute/async" '{"args":[],"script":"const done = arguments[arguments.length - 1];
    axe.run().then(found => done(found.violations.filter(v => v.impact === \"serious\" || v.impact === \"critical\")
      .map(v => v.id + \": \" + v.nodes.slice(0, 3).map(n => n.target.join(\" \")).join(\", \"))), e => done([String(e)]));"}')
  [ "$(jq -c '.value' <<<"$answer")" = '[]' ] || complain "$1 axe" "$(jq -c '.value' <<<"$answer")"
}

pages=0
for page in "$folder"/*.html; do
  name=$(basename "$page" .html)
  check "$name" 1400
  check "$name" 500  # the narrowest window that Chromium makes
  [ -z "${AXE:-}" ] || accessible "$name"
  pages=$((pages + 1))
done
[ "$pages" -gt 0 ] || complain "$folder" "no pages"
[ "$failed" = 0 ] && echo "$pages pages as they should be${AXE:+, axe included}"
exit $failed
