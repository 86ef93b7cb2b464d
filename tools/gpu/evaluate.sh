#!/usr/bin/env bash
# Draw and judge the evaluation's scenes on a machine with a CUDA GPU, by several processes at a time.
#
#   tools/gpu/evaluate.sh [--minutes 8.5] [--jobs 1] [--ablations] [--tiny] [--device cuda] [further arguments of `beyondscene evaluate`]
#
# Run it from the repository root, with the same arguments until it says "finished": each call goes on behind the last picture in
# build/gpu/evaluation-*, one folder for each device, precision and --models, for few steps and for trials, which git ignores, which has some 2 MB a
# picture, and which must still be there. --jobs: so many processes share the scenes and the GPU, through NVIDIA's multi-process
# service where it starts; small networks leave a GPU idle between their calls otherwise. The seconds of a picture are then those
# of a busy machine. --ablations: this method without each of its parts in turn, in place of the other methods. Left in $OUT: the
# lines of every picture, and, when all are there, results.md, results.json and cases.jpg (with --ablations: ablations.md and so
# on), without a method that broke off: then the exit code is 1. --tiny tries the script itself. PYTHON and OUT: see prepare.sh.
set -euo pipefail

minutes=8.5
jobs=1
device=cuda
name=results
place=evaluation
arguments=()
while (($#)); do
  case "$1" in
    --minutes) minutes="$2"; shift 2 ;;
    --jobs) jobs="$2"; shift 2 ;;
    --device) device="$2"; shift 2 ;;
    --ablations) name=ablations; arguments+=("$1"); shift ;;
    --tiny) place+=-tiny arguments+=(--limit 2 --steps 2 --method upscale); shift ;;
    --few-steps) place+=-few-steps arguments+=("$1"); shift ;;
    --precision) place+="-$2" arguments+=("$1" "$2"); shift 2 ;;
    --models) place+="-$(basename "$2")" arguments+=("$1" "$2"); shift 2 ;;
    --out) echo "the folder is build/gpu/evaluation-*: remove that to begin anew" >&2; exit 2 ;;
    *) arguments+=("$1"); shift ;;
  esac
done
if [[ ! "$jobs" =~ ^[1-9][0-9]?$ ]]; then
  echo "--jobs is '$jobs': write how many processes draw at a time, 1 to 99" >&2
  exit 2
fi

source tools/gpu/prepare.sh
check_gpu "$device"
work="$here/$place-$device" # what is drawn otherwise goes elsewhere
mkdir -p "$work"
rm -f "$work/results.md" "$work/cases.jpg" # of an earlier call

# The evaluation with the arguments $2 and further, its messages in the file $1, until the time is up.
evaluate() {
  local log="$1" left_s
  shift
  left_s="$("$python" -c "print(max(1, round(60 * $minutes - $SECONDS)))")"
  timeout --signal=INT --kill-after=10 "$left_s" "$python" -m beyondscene.backend evaluate --json --device "$device" \
    --out "$work" "${arguments[@]}" "$@" 2>"$log"
}

# Let several processes use the GPU at the same moment, where that works; otherwise it gives each its turn.
share_gpu() {
  export CUDA_MPS_PIPE_DIRECTORY="$here/mps" CUDA_MPS_LOG_DIRECTORY="$here/mps"
  mkdir -p "$here/mps"
  if command -v nvidia-cuda-mps-control >/dev/null && nvidia-cuda-mps-control -d && trap 'echo quit | nvidia-cuda-mps-control' EXIT &&
    timeout 30 "$python" -c "import torch; torch.ones(8, device='cuda').sum().item()"; then
    echo "$jobs processes share the GPU"
  else
    echo "$jobs processes take turns on the GPU"
    trap - EXIT
    echo quit | timeout 5 nvidia-cuda-mps-control || true
    unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
  fi
}

status=0
if ((jobs > 1)); then
  [[ "$device" == cpu ]] || share_gpu
  export OMP_NUM_THREADS=1
  parts=()
  for ((part = 1; part <= jobs; part++)); do
    evaluate "$work/$name-$part.log" --part "$part/$jobs" >/dev/null & parts+=($!)
  done
  for part in "${parts[@]}"; do
    wait "$part" || status=$?
  done
fi
if ((status < 124)); then # also where a method broke off in some part
  status=0
  evaluate "$work/$name.log" >"$work/$name.json" || status=$?
fi
cp "$work"/*.jsonl "$out/" || true
if ((status == 124 || status == 130 || status == 137)); then
  echo "out of time after $(wc -l <"$work/drawn.jsonl") pictures; call again"
  exit 3
fi
if [[ -f "$work/results.md" ]]; then # also where some method broke off
  cp "$work/$name.json" "$out/"
  cp "$work/results.md" "$out/$name.md"
  cp "$work/cases.jpg" "$out/$([[ "$name" == results ]] || echo "$name-")cases.jpg"
  cat "$out/$name.md"
fi
if ((status)); then
  tail -n 20 "$work/$name"*.log >&2
  exit "$status"
fi
echo "finished"
