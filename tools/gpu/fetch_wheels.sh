#!/usr/bin/env bash
# Fetch into .whl/ what a machine with torch, transformers, accelerate, peft, opencv and scipy still lacks: 6 MB.
#
#   tools/gpu/fetch_wheels.sh [PYTHON_VERSION]    # of that machine; default: 3.12
#
# Run it from the repository root, on a machine with a network. git ignores .whl/, so take it along by name. Newer numpy, opencv
# and transformers than this project asks for are no matter there.
set -euo pipefail

platforms=()
for libc in 2_28 2_27 2_17; do platforms+=(--platform "manylinux_${libc}_x86_64"); done
rm -rf .whl
"${PYTHON:-python3}" -m pip download --quiet --no-deps --only-binary=:all: --dest .whl \
  --python-version "${1:-3.12}" --implementation cp "${platforms[@]}" --platform manylinux2014_x86_64 \
  "diffusers>=0.42,<0.43" "msgspec>=0.22" "platformdirs>=4"
du -sh .whl
