#!/usr/bin/env bash
# Start, follow, resume and stop a run with curl: ./examples/curl.sh [MODEL], with a server running.
set -euo pipefail
url=${HEADRACE_URL:-http://127.0.0.1:8642}
model=${1:-demo}

echo "# the plainest form: one GET, one small object a piece"
curl -sN "$url/api/chat?message=Hi&model=$model" | head -n 8 || true # head has enough and leaves

echo "# start a run: 201 at once, with its id"
body='{"model":"'$model'","input":"A long story","on_disconnect":"continue"}'
run=$(curl -s -d "$body" "$url/v1/runs" | sed 's/.*"run":"\([^"]*\)".*/\1/')
echo "$run"

echo "# its first events, then what comes after event 3, from another place"
curl -sN "$url/v1/runs/$run/events" | grep --line-buffered '^data' | head -n 3 || true
curl -sN "$url/v1/runs/$run/events?after=$run.3" | grep --line-buffered '^data' | head -n 2 || true

echo "# stop it; once more changes nothing"
curl -s -X POST "$url/v1/runs/$run/cancel" | grep -o '"status":"[a-z]*"'
curl -s -X POST "$url/v1/runs/$run/cancel" | grep -o '"status":"[a-z]*"'
