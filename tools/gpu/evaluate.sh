#!/usr/bin/env bash
# Draw and judge the 8 scenes of the quick set with all methods on a machine with a CUDA GPU, in one call.
#
#   tools/gpu/evaluate.sh [--minutes 8.5] [--ablations] [--tiny] [--device cuda] [further arguments of `beyondscene evaluate`]
#
# Run it from the repository root. The quick set fits one call: 8 scenes by 7 methods, a few seconds a picture. `--set full` draws
# all 64 and does not; run it with the same arguments until it says "finished": each call goes on behind the last picture in
# build/gpu/evaluation-*, one folder for each device, for few steps and for trials, which git ignores, which has some 2 MB a
# picture, and which must still be there. --ablations: this method without each of its parts in turn, in place of the other
# methods. Left in $OUT: the lines of every picture, and, when all are there, results.md, results.json and cases.jpg (with
# --ablations: ablations.md and so on), without a method that broke off: then the exit code is 1. --tiny tries the script itself.
# PYTHON and OUT: see prepare.sh.
set -euo pipefail

minutes=8.5
device=cuda
name=results
place=evaluation
arguments=()
while (($#)); do
  case "$1" in
    --minutes) minutes="$2"; shift 2 ;;
    --device) device="$2"; shift 2 ;;
    --ablations) name=ablations; arguments+=("$1"); shift ;;
    --tiny) place+=-tiny arguments+=(--limit 1 --steps 2 --method upscale); shift ;;
    --few-steps) place+=-few-steps arguments+=("$1"); shift ;;
    *) arguments+=("$1"); shift ;;
  esac
done

source tools/gpu/prepare.sh
check_gpu "$device"
work="$here/$place-$device" # what is drawn otherwise goes elsewhere
mkdir -p "$work"
rm -f "$work/results.md" "$work/cases.jpg" # of an earlier call
left_s="$("$python" -c "print(max(1, round(60 * $minutes - $SECONDS)))")"
status=0
timeout --signal=INT --kill-after=10 "$left_s" "$python" -m beyondscene.backend evaluate --json --device "$device" \
  --out "$work" "${arguments[@]}" >"$work/$name.json" 2>"$work/$name.log" || status=$?
cp "$work"/*.jsonl "$out/" || true
if ((status == 124 || status == 130 || status == 137)); then
  echo "out of time; call again"
  exit 3
fi
if [[ -f "$work/results.md" ]]; then # also where some method broke off
  cp "$work/$name.json" "$out/"
  cp "$work/results.md" "$out/$name.md"
  cp "$work/cases.jpg" "$out/$([[ "$name" == results ]] || echo "$name-")cases.jpg"
  cat "$out/$name.md"
fi
if ((status)); then
  tail -n 20 "$work/$name.log" >&2
  exit "$status"
fi
echo "finished"
