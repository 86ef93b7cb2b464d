#!/usr/bin/env bash
# Train HcP layers for the embedded model on one CUDA GPU, and judge what they are worth on the evaluation's scenes.
#
#   tools/gpu/hcp.sh [--minutes 9] [--steps 6000] [--views 12000] [--jobs 15] [--tiny] [--device cuda]
#
# Run it from the repository root. Half of the time is for training; what it has come to by then is judged, beside the model without
# its layers. Left in $OUT: hcp.log (losses), hcp.tar (the layers, 0.4 MB: the role hcp of a model set), results.md, results.json.
# --tiny tries the script. PYTHON and OUT: see prepare.sh.
set -euo pipefail

minutes=9
device=cuda
training=(--steps 6000 --views 12000)
judging=(--set full --jobs 15)
while (($#)); do
  case "$1" in
    --minutes) minutes="$2"; shift 2 ;;
    --device) device="$2"; shift 2 ;;
    --steps | --views) training+=("$1" "$2"); shift 2 ;;
    --jobs) judging+=("$1" "$2"); shift 2 ;;
    --tiny) training=(--steps 4 --views 500); judging=(--limit 1 --steps 2 --jobs 1); shift ;;
    *) echo "there is no argument '$1'" >&2; exit 2 ;;
  esac
done

source tools/gpu/prepare.sh
check_gpu "$device"
models="$here/hcp-models"
rm -rf "$models"
cp -r backend/models/embedded "$models"
"$python" - "$models/modelset.json" <<'PY'
import json, sys
from pathlib import Path

manifest = json.loads(Path(sys.argv[1]).read_text())
manifest["roles"]["hcp"] = "hcp"
Path(sys.argv[1]).write_text(json.dumps(manifest, indent=2) + "\n")
PY
"$python" -m beyondscene.backend train hcp --models "$models" --work "$here/work-hcp" --device "$device" \
  --minutes "$("$python" -c "print($minutes / 2)")" "${training[@]}" > "$out/hcp.log" || [[ $? == 3 ]]
tail -n 1 "$out/hcp.log"
tar -cf "$out/hcp.tar" -C "$models" hcp
left="$("$python" -c "print(round($minutes - $SECONDS / 60, 1))")"
rows=(--method beyondscene)
for scale in 0.05 0.1 0.3; do rows+=(--method "beyondscene+hcp_scale=$scale"); done
OUT="$out" tools/gpu/evaluate.sh "${judging[@]}" --minutes "$left" --device "$device" --precision bfloat16 --models "$models" "${rows[@]}"
