#!/usr/bin/env bash
# Build the outpost's image with buildah, as root, without a container engine.
#
#   packaging/images/build.sh [TAG]        default TAG: localhost/outpost:dev
#   BASE=registry/name@sha256:… …          use a base of your own instead of a Debian root file system made here
#
# Everything is kept below .cache/image: the base, the wheels, the image store. The image's digest is written to .cache/image/digest
# and printed as the last line. The same commit, base and lock give the same digest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

TAG=${1:-localhost/outpost:dev}
PYTHON=${IMAGE_PYTHON:-.venv/bin/python}  # not $PYTHON: that is the one that makes the environment
WORK=${OUTPOST_IMAGE_WORK:-$PWD/.cache/image}
BASE_TAG=localhost/outpost-base:bookworm
BASE_EPOCH=1767225600  # time stamp of every file of the base: 2026-01-01
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo "$BASE_EPOCH")}
export SOURCE_DATE_EPOCH

fail() { printf 'image: %s\n' "$1" >&2; exit 8; }
need() { command -v "$1" >/dev/null || fail "$1 is missing: apt-get install --no-install-recommends buildah podman runc mmdebstrap uidmap"; }
store() { local tool=$1; shift; "$tool" --root "$WORK/store" --runroot "$WORK/run" --storage-driver vfs "$@"; }

[ "$(id -u)" = 0 ] || fail "root is needed to make a root file system: sudo make image"
[ -x "$PYTHON" ] || fail "no $PYTHON: make setup"
need buildah
mkdir -p "$WORK"
exec 9>"$WORK/lock"
flock 9  # two builds in one checkout would share the store

make_base() {
  store buildah inspect --type image "$BASE_TAG" >/dev/null 2>&1 && return
  need mmdebstrap
  echo "image: making the base (about 40 s, once)" >&2
  SOURCE_DATE_EPOCH=$BASE_EPOCH mmdebstrap --quiet --variant=minbase --include=python3,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$WORK/base.tar"
  local container
  container=$(store buildah from scratch)
  store buildah add --quiet "$container" "$WORK/base.tar" / >/dev/null
  store buildah commit --quiet --rm --timestamp "$BASE_EPOCH" "$container" "$BASE_TAG" >/dev/null
  rm -f "$WORK/base.tar"
}

make_wheelhouse() {
  local wheels=$WORK/wheels context=$WORK/context stamp
  stamp=$(sha256sum requirements/runtime.lock | cut -d' ' -f1)
  if [ "$(cat "$wheels/.lock" 2>/dev/null || true)" != "$stamp" ]; then
    rm -rf "$wheels"; mkdir -p "$wheels"
    "$PYTHON" packaging/images/requirements.py requirements/runtime.lock > "$wheels/runtime.txt"
    "$PYTHON" -m pip download -qq --no-deps --only-binary :all: --python-version 3.11 --require-hashes -r "$wheels/runtime.txt" -d "$wheels"
    echo "$stamp" > "$wheels/.lock"
  fi
  rm -rf "$context" "$WORK/dist"; mkdir -p "$context"
  "$PYTHON" -m hatchling build -t wheel -d "$WORK/dist" >"$WORK/wheel.log" 2>&1 || { cat "$WORK/wheel.log" >&2; fail "the wheel does not build"; }
  cp -r "$wheels" "$context/wheelhouse"
  rm "$context/wheelhouse/.lock" "$context/wheelhouse/runtime.txt"
  cp "$WORK"/dist/*.whl "$context/wheelhouse/"
  "$PYTHON" packaging/images/requirements.py requirements/runtime.lock "$WORK"/dist/*.whl > "$context/wheelhouse/requirements.txt"
  cp packaging/images/Containerfile "$context/"
}

if [ -z "${BASE:-}" ]; then make_base; BASE=$BASE_TAG; fi
make_wheelhouse
# The OCI format: docker's would carry a random container id and host name, so no two builds would have one digest. It has no place for
# HEALTHCHECK (buildah says so and goes on); `docker build` of the same file keeps it, an orchestrator probes /healthz and /readyz.
store buildah bud --quiet --isolation chroot --format oci --no-cache --pull=false --build-arg "BASE=$BASE" \
  --timestamp "$SOURCE_DATE_EPOCH" --iidfile "$WORK/id" -t "$TAG" "$WORK/context" >"$WORK/build.log" 2>&1 9>&- \
  || { tail -20 "$WORK/build.log" >&2; fail "the build failed; its whole log is $WORK/build.log"; }
store buildah rmi --prune >>"$WORK/build.log" 2>&1  # what the new tag replaced
store buildah images --format '{{.Digest}}' "$TAG" | head -1 > "$WORK/digest"
printf '%s %s\n' "$TAG" "$(cat "$WORK/digest")"
