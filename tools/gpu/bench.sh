#!/usr/bin/env bash
# Measure SDXL's sizes, with random weights, against other methods on a CUDA GPU, in under 9 minutes.
#
#   tools/gpu/bench.sh [--part NAME]... [--minutes 8.5] [--tiny] [--device cuda] [further arguments of `beyondscene bench`]
#
# Run it from the repository root. The parts, the first three in this order unless some are named:
#   compared  this method, the plain loop, DemoFusion, `direct`, and this method with its shortcuts, with 10 steps, which the
#             ratios and speeds do not depend on
#   tuned     this method with its networks in another layout and with fused projections
#   full      this method with all its steps
#   float8    this method with linear layers in 8-bit floats, which is another picture, on GPUs that multiply them
# Each leaves its table in $OUT/PART.md, and bench.jsonl and bench.png in $OUT/PART, written after every picture. A method that breaks
# off is left out, a part that breaks off or runs out of time leaves its table as it is, and the others follow. Where the time is
# short, run the parts in calls of their own. --tiny tries the script itself, on a CPU if that is the device. PYTHON and OUT: see
# prepare.sh.
set -euo pipefail

minutes=8.5
device=cuda
parts=()
quick=beyondscene+controlnet_views=with_people+stride_background=96+background_every=2
few=beyondscene+guidance_scale=1+stride_background=96+steps=4
methods=(--method beyondscene --method plain --method "$few" --method "$quick" --method demofusion --method direct)
compared=(--models sdxl-random --people 3 --steps 10 --rounds 1 --size 1024x1024 --size 2048x2048 --size 4096x4096 "${methods[@]}")
tuned=(--models sdxl-random --people 3 --steps 10 --rounds 2 --size 2048x2048 --method plain --method beyondscene
  --tune channels_last --tune fused)
full=(--models sdxl-random --people 3 --rounds 1 --method beyondscene --size 4096x4096)
float8=(--models sdxl-random --people 3 --steps 10 --rounds 2 --size 2048x2048 --method plain --method beyondscene --tune float8)
least_s=30  # that a part takes to load
given=()
while (($#)); do
  case "$1" in
    --minutes) minutes="$2"; shift 2 ;;
    --device) device="$2"; shift 2 ;;
    --part) parts+=("$2"); shift 2 ;;
    --tiny)
      compared=(--models toy-random --people 2 --steps 2 --rounds 2 --size 64x64 --size 128x128 "${methods[@]}")
      tuned=(--models toy-random --people 2 --steps 2 --rounds 1 --method beyondscene --size 128x128
        --tune channels_last --tune fused)
      full=(--models toy-random --people 2 --rounds 1 --method beyondscene --size 128x128)
      float8=(--models toy-random --people 2 --steps 2 --rounds 1 --method beyondscene --size 128x128 --tune float8)
      shift ;;
    *) given+=("$1"); shift ;;
  esac
done
((${#parts[@]})) || parts=(compared tuned full)

source tools/gpu/prepare.sh
check_gpu "$device"
failed=0
for part in "${parts[@]}"; do
  declare -n arguments="$part"
  left_s="$("$python" -c "print(round(60 * $minutes - $SECONDS))")"
  if ((left_s < least_s)); then
    echo "== $part: no time is left for it"
    failed=3
    continue
  fi
  # a picture that takes longer than the ones before it said is stopped at the end of the time
  timeout --signal=INT --kill-after=5 "$left_s" "$python" -m beyondscene.backend.bench --device "$device" \
    --out "$out/$part" --minutes "$("$python" -c "print($left_s / 60)")" "${arguments[@]}" "${given[@]}" >/dev/null || failed=$?
  if [[ -f "$out/$part/bench.md" ]]; then
    mv "$out/$part/bench.md" "$out/$part.md"
    echo "== $part, after $SECONDS s"
    cat "$out/$part.md"
  else
    echo "== $part: nothing was measured"
  fi
done
exit "$failed"
