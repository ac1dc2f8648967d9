#!/usr/bin/env bash
# Install what the benchmarks compare with. Debian packages always; PEERS=1 adds LiteLLM and Portkey below .cache/bench (large).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing=()
command -v wrk >/dev/null || missing+=(wrk)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
[ -x /usr/sbin/nginx ] || missing+=(nginx-light)
if [ "${#missing[@]}" != 0 ]; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "bench: install these first: ${missing[*]}" >&2; exit 8; }
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ -n "${PEERS:-}" ]; then
  mkdir -p .cache/bench
  [ -x .cache/bench/litellm/bin/litellm ] || {
    "${PYTHON:-python3}" -m venv .cache/bench/litellm
    .cache/bench/litellm/bin/pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.106.2'
  }
  if command -v npm >/dev/null; then
    [ -d .cache/bench/portkey/node_modules ] || npm install --silent --no-audit --no-fund --prefix .cache/bench/portkey @portkey-ai/gateway@1.15.2
  else
    echo "bench: no npm, so Portkey stays out" >&2
  fi
fi
