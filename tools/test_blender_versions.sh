#!/usr/bin/env bash
# Run the add-on's tests in each Blender that it supports: one virtual environment per version, with its bpy wheel.
#
#   tools/test_blender_versions.sh                         all of them
#   tools/test_blender_versions.sh 4.2                     one
#   tools/test_blender_versions.sh "4.2 4.5" -k camera     some, with options for pytest
#
# The environments, in .cache/blender/, want python3.11 for Blender 4.2 to 5.0 and python3.13 for later ones; PYTHON311 and PYTHON313
# name others. They hold no PyTorch: the add-on needs none.
set -euo pipefail
cd "$(dirname "$0")/.."
versions=${1:-4.2 4.5 5.0 5.1 5.2 5.3}
shift || true
failed=""
# Python must not finalise: bpy 4.2 crashes then (docs/addon.md), and the code would be lost.
run="import os, sys, pytest; code = pytest.main(sys.argv[1:]); sys.stdout.flush(); os._exit(code)"
for version in $versions; do
    case $version in
        4.* | 5.0) python=${PYTHON311:-python3.11} arrays=("numpy<2" "opencv-python-headless<4.12") ;;
        *) python=${PYTHON313:-python3.13} arrays=("numpy>=2.2" "opencv-python-headless<5") ;;
    esac
    venv=.cache/blender/$version
    if [ ! "$venv/.installed" -nt "$0" ]; then  # also where this list has grown since
        "$python" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet "bpy==$version.*" "${arrays[@]}" "msgspec>=0.22" "pyzmq>=26" \
            "platformdirs>=4" "psutil>=6" "pytest>=8" "pytest-timeout>=2" \
            "rich>=14.3" "safetensors>=0.4.5" "pillow>=11" "openexr>=3.5" prometheus-client
        "$venv/bin/python" -m pip install --quiet --no-deps --editable .
        touch "$venv/.installed"
    fi
    echo "Blender $version"
    "$venv/bin/python" -c "$run" -q tests/addon -p no:cacheprovider "$@" || failed="$failed $version"
done
[ -z "$failed" ] || { echo "Failed in Blender$failed"; exit 1; }
