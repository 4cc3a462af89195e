#!/bin/sh
# Ask a server for completions with curl:
#
#     santacoder serve
#     sh examples/http_client.sh [http://127.0.0.1:8012]
#
# The key of a server that has one is read from $SANTACODER_API_KEY.
set -eu
url=${1:-http://127.0.0.1:8012}

ask() {
    curl --silent --show-error --no-buffer "$url/$1" -H 'Content-Type: application/json' \
        -H "Authorization: Bearer ${SANTACODER_API_KEY:-}" -d @-
    echo
}

echo "Complete:"
ask v1/completions <<'JSON'
{"prompt": "def add(a, b):", "max_tokens": 32, "temperature": 0}
JSON

echo "Stream:"
ask v1/completions <<'JSON'
{"prompt": "def add(a, b):", "max_tokens": 32, "temperature": 0, "stream": true}
JSON

echo "Fill a gap:"
ask v1/completions <<'JSON'
{"prompt": "def area(r):\n    return ", "suffix": "\n", "single_line": true, "max_tokens": 16, "temperature": 0}
JSON

echo "Fill a gap as editors ask for it:"
ask infill <<'JSON'
{"input_prefix": "def area(r):\n", "prompt": "    return ", "input_suffix": "\n", "n_predict": 16, "temperature": 0}
JSON

echo "Is it there?"
curl --silent --show-error "$url/health"
echo
