#!/bin/sh
# Add to each image the digest that its tag points to now: sh compose/pin.sh
#
# Changes compose.yaml, the manifests and the Dockerfile; a second run moves the digests on.
set -eu
cd "$(dirname "$0")/.."
files="compose.yaml workers/Dockerfile $(grep -rlE '^ *image: [^ ]+:' deploy --include=*.yaml)"
images=$(sed -nE 's/^ *image: ([^ @]+:[^ @]+).*/\1/p; s/^ARG PYTHON=([^ @]+).*/\1/p' $files |
  grep -v '^mnist-zoo' | sort -u)
for image in $images; do
  digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
  case $digest in
    sha256:????????????????????????????????????????????????????????????????) ;;
    *) echo "$image has no digest: '$digest'" >&2; exit 1 ;;
  esac
  # A dot in a tag must not stand for any character.
  name=$(printf '%s' "$image" | sed 's/[.]/[.]/g')
  for file in $files; do
    sed -E "s#^( *image: |ARG PYTHON=)$name(@sha256:[0-9a-f]+)?\$#\\1$image@$digest#" "$file" > "$file.pinned"
    cat "$file.pinned" > "$file"
    rm "$file.pinned"
  done
  echo "$image@$digest"
done
