#!/usr/bin/env bash
# Opens report pages in headless Chromium through chromedriver (W3C WebDriver over curl) and checks them: verdict, figures,
# sorting, no error on the console, no request to anywhere, and axe's accessibility rules where its script is given.
# usage: run.sh FOLDER   with NAME.html and NAME.json, as tests/reports/render_samples writes them
#   AXE=axe.min.js  also runs axe-core, light and dark: no serious or critical violation
#   SHOTS=FOLDER    also writes a picture of each page: light and dark at 1400 and 400 pixels, and as printed
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

cdp() {  # COMMAND PARAMETERS: of Chromium's own protocol, for what WebDriver has no word for
  post "session/$session/goog/cdp/execute" "{\"cmd\":\"$1\",\"params\":$2}"
}

view() {  # WIDTH SCHEME: a window of Chromium is never narrower than 500 pixels, a device is
  cdp Emulation.setDeviceMetricsOverride "{\"width\":$1,\"height\":900,\"deviceScaleFactor\":1,\"mobile\":false}" >/dev/null
  cdp Emulation.setEmulatedMedia "{\"media\":\"${3:-}\",\"features\":[{\"name\":\"prefers-color-scheme\",\"value\":\"$2\"}]}" >/dev/null
}

shoot() {  # NAME: the page that is open
  local size
  size=$(cdp Page.getLayoutMetrics '{}' | jq -c '.value.cssContentSize | {x: 0, y: 0, width, height: ([.height, 12000] | min), scale: 1}')
  cdp Page.captureScreenshot "{\"format\":\"png\",\"captureBeyondViewport\":true,\"clip\":$size}" |
    jq -r '.value.data' | base64 -d >"$SHOTS/$1.png"
}

pictures() {  # NAME
  local width scheme
  post "session/$session/url" "{\"url\":\"file://$folder/$1.html\"}" >/dev/null
  for width in 1400 400; do
    for scheme in light dark; do
      view "$width" "$scheme"
      shoot "$1-$width-$scheme"
    done
  done
  view 1000 light print
  shoot "$1-print"
  view 1400 light
}

check() {  # NAME WIDTH
  local name=$1 width=$2 status figures answer
  view "$width" light
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

accessible() {  # NAME SCHEME
  local answer
  view 1400 "$2"
  post "session/$session/execute/sync" "$(jq -n --rawfile axe "$AXE" '{script: $axe, args: []}')" >/dev/null
  answer=$(post "session/$session/execute/async" '{"args":[],"script":"const done = arguments[arguments.length - 1];
    axe.run().then(found => done(found.violations.filter(v => v.impact === \"serious\" || v.impact === \"critical\")
      .map(v => v.id + \": \" + v.nodes.slice(0, 3).map(n => n.target.join(\" \")).join(\", \"))), e => done([String(e)]));"}')
  [ "$(jq -c '.value' <<<"$answer")" = '[]' ] || complain "$1 axe, $2" "$(jq -c '.value' <<<"$answer")"
}

pages=0
for page in "$folder"/*.html; do
  name=$(basename "$page" .html)
  check "$name" 1400
  check "$name" 400
  [ -z "${AXE:-}" ] || { accessible "$name" light; accessible "$name" dark; }
  [ -z "${SHOTS:-}" ] || pictures "$name"
  pages=$((pages + 1))
done
[ "$pages" -gt 0 ] || complain "$folder" "no pages"
[ "$failed" = 0 ] && echo "$pages pages as they should be${AXE:+, axe included}"
exit $failed
