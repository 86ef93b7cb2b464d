#!/usr/bin/env bash
# Draw and judge the 64 scenes with all methods, then the ablations, on a machine with a CUDA GPU, a slice of time per call.
#
#   tools/gpu/evaluate.sh [--minutes 8.5] [--tiny] [--device cuda] [further arguments of `beyondscene evaluate`]
#
# Run it from the repository root, with the same arguments until it says "finished": each call goes on behind the last picture in
# build/gpu/evaluation, which git ignores and which must still be there. Left in $OUT: the lines of every picture, and, of what is
# complete, results.md, methods.json and cases.jpg, then ablations.md and ablations.json. --tiny tries the script itself. PYTHON and OUT: see prepare.sh.
set -euo pipefail

minutes=8.5
device=cuda
methods=(--set full)
ablations=(--set full --ablations)
given=()
while (($#)); do
  case "$1" in
    --minutes) minutes="$2"; shift 2 ;;
    --device) device="$2"; shift 2 ;;
    --tiny)
      methods=(--limit 1 --steps 2 --method upscale)
      ablations=(--limit 1 --steps 2 --method upscale --method upscale+clahe_clip_limit=0)
      shift ;;
    *) given+=("$1"); shift ;;
  esac
done

source tools/gpu/prepare.sh
check_gpu "$device"
work="$here/evaluation"
left() { "$python" -c "print(max(1, round(60 * $minutes - $SECONDS)))"; }

# The report of $1: the arguments that follow.
evaluate() {
  local name="$1" status=0
  shift
  timeout --signal=INT "$(left)" "$python" -m beyondscene.backend evaluate --json --device "$device" --out "$work" "$@" \
    "${given[@]}" >"$work/$name.json" 2>"$work/$name.log" || status=$?
  cp "$work"/*.jsonl "$out/"
  if ((status == 124 || status == 130)); then
    echo "out of time; call again"
    exit 3
  elif ((status)); then
    tail -n 5 "$work/$name.log" >&2
    exit "$status"
  fi
  cp "$work/$name.json" "$out/"
}

mkdir -p "$work"
evaluate methods "${methods[@]}"
cp "$work/results.md" "$work/cases.jpg" "$out/"
cat "$out/results.md"
evaluate ablations "${ablations[@]}"
cp "$work/results.md" "$out/ablations.md"
cat "$out/ablations.md"
echo "finished"
