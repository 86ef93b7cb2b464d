#!/usr/bin/env bash
# Run the backend's tests with the oldest libraries that pyproject.toml allows, which pip keeps where they are installed already.
#
#   tools/test_oldest.sh [options for pytest]
#
# The environment, in .cache/oldest/, wants python3.11 (PYTHON names another) and 6 GB: the torch of then comes with CUDA.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.cache/oldest
if [ ! "$venv/.installed" -nt pyproject.toml ]; then
    "${PYTHON:-python3.11}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet packaging
    "$venv/bin/python" - >"$venv/oldest.txt" <<'PY'
import tomllib
from packaging.requirements import Requirement

with open("pyproject.toml", "rb") as file:
    wanted = map(Requirement, tomllib.load(file)["project"]["dependencies"])
for one in wanted:
    if one.marker is None or one.marker.evaluate():
        (oldest,) = (bound.version for bound in one.specifier if bound.operator == ">=")
        print(f"{one.name}=={oldest}.*")
PY
    "$venv/bin/python" -m pip install --quiet --requirement "$venv/oldest.txt" --editable ".[dev]"
    touch "$venv/.installed"
fi
"$venv/bin/python" -m pytest -q -n 2 --dist loadfile tests/backend tests/protocol tests/test_end_to_end.py -p no:cacheprovider "$@"
