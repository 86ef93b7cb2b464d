#!/usr/bin/env bash
# Measure SDXL's sizes, with random weights, against other methods on a CUDA GPU, in under 9 minutes.
#
#   tools/gpu/bench.sh [--minutes 8.5] [--tiny] [--device cuda] [further arguments of `beyondscene bench`]
#
# Run it from the repository root. All methods are drawn with 10 steps, which the ratios and speeds do not depend on; then this method
# alone, with its networks in another layout and with fused projections; what time is left goes to it with all its steps. The tables
# are printed and left in $OUT, $OUT/tuned and $OUT/full (bench.md, bench.jsonl, bench.png), written after every picture: a run that
# is cut short leaves its table as well. --tiny tries the script itself, on a CPU if that is the device. PYTHON and OUT: see
# prepare.sh.
set -euo pipefail

minutes=8.5
device=cuda
compared=(--models sdxl-random --people 3 --steps 10 --rounds 1 --size 1024x1024 --size 2048x2048 --size 4096x4096)
tuned=(--models sdxl-random --people 3 --steps 10 --rounds 2 --method beyondscene --size 2048x2048)
complete=(--models sdxl-random --people 3 --rounds 1 --method beyondscene --size 4096x4096)
given=()
while (($#)); do
  case "$1" in
    --minutes) minutes="$2"; shift 2 ;;
    --device) device="$2"; shift 2 ;;
    --tiny)
      compared=(--models toy-random --people 2 --steps 2 --rounds 2 --size 64x64 --size 128x128)
      tuned=(--models toy-random --people 2 --steps 2 --rounds 1 --method beyondscene --size 128x128)
      complete=(--models toy-random --people 2 --rounds 1 --method beyondscene --size 128x128)
      shift ;;
    *) given+=("$1"); shift ;;
  esac
done

source tools/gpu/prepare.sh
check_gpu "$device"
left() { "$python" -c "print(max(0.0, $minutes - $SECONDS / 60))"; }
bench() { "$python" -m beyondscene.backend.bench --device "$device" "$@" "${given[@]}"; }
bench --out "$out" --minutes "$(left)" "${compared[@]}"
bench --out "$out/tuned" --minutes "$(left)" --tune channels_last --tune fused "${tuned[@]}"
bench --out "$out/full" --minutes "$(left)" "${complete[@]}"
