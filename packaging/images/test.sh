#!/usr/bin/env bash
# Prove the image: a second build has the same digest, and the image works without root, without capabilities and on a read-only root.
# Needs root, podman and runc; `make image` first. Leaves no container and no process.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

TAG=${1:-localhost/outpost:dev}
WORK=${OUTPOST_IMAGE_WORK:-$PWD/.cache/image}
for tool in podman runc; do
  command -v "$tool" >/dev/null || { echo "image-test: $tool is missing: apt-get install --no-install-recommends podman runc" >&2; exit 8; }
done
[ -s "$WORK/digest" ] || { echo "image-test: no image yet: make image" >&2; exit 8; }

first=$(cat "$WORK/digest")
packaging/images/build.sh "$TAG" >/dev/null
second=$(cat "$WORK/digest")
[ "$first" = "$second" ] || { echo "image-test: two builds, two digests: $first and $second (did the tree change meanwhile?)" >&2; exit 1; }
echo "  ✓ two builds have one digest  $first"
PYTHONPATH=$PWD exec "${IMAGE_PYTHON:-.venv/bin/python}" packaging/images/check.py "$WORK" "$TAG"
