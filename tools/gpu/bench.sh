#!/usr/bin/env bash
# Measure the targets of docs/performance.md on one CUDA GPU, in two calls that fit 15 minutes of one together.
#
#   tools/gpu/bench.sh first|second [--minutes N] [--parts PART,PART...] [--tune-all NAME] [--tiny] [--device cuda]
#
# Run it from the repository root. The parts of each call, in this order, each in a process of its own; SDXL's sizes with random
# weights, bfloat16 and 3 people but for the first two. Seconds are reckoned for an H100: 9.7 TFLOP for a row of a view, 359
# TFLOP/s (45 % of 798), loading and first pictures included.
#   first, 7 minutes
#     smoke     30 s  toy networks at 128x128: every method, channels_last, fused, float8
#     embedded  90 s  the embedded model at 1024x1024 in float32, ours and the plain loop: equal pictures, and their ratio
#     compared 155 s  2048x2048, 10 steps, 2 rounds: ours, plain loop, DemoFusion, direct
#     tuned    280 s  the same picture by ours alone: channels_last, fused, compiled
#     float8   180 s  the same once more: float8, float8+compiled; only by --parts
#   second, 6 minutes
#     targets  180 s  4096x4096 with stride_instance=64 and all 50 steps
#     preview  165 s  8192x8192 with 8 unguided steps and stride_background=96, a VAE in half precision, the device held to 24 GiB
#     ratios   240 s  4096x4096, 5 steps: ours, plain loop, DemoFusion; only by --parts or with --minutes 10
#     posed    170 s  as targets, the ControlNet in views with people alone and a VAE in half precision; only by --parts
#     largest  330 s  8192x8192 as posed but for the ControlNet, in half of its 50 steps, since all take 546 s; only by --parts, --minutes 7
# Left in $OUT: CALL.md, CALL.jsonl (each line names its part) and CALL.log, and meanwhile a folder of three files. What is measured
# is written after every picture. --minutes counts from the start of this script: no picture is begun that would end later, and one
# that takes longer than was known is stopped then. A method or a part that breaks off leaves the others as they are. --tiny tries
# the script itself. --parts: these, in this order, in place of the call's own; what $OUT holds of other parts stays. --tune-all: as of `beyondscene bench`, for SDXL's sizes.
# PYTHON and OUT: see prepare.sh.
set -euo pipefail

call="${1:-}"
shift || true
case "$call" in
  first) minutes=7 parts=(smoke embedded compared tuned) ;;
  second) minutes=6 parts=(targets preview ratios) ;;
  *) echo "the first argument is 'first' or 'second'" >&2; exit 2 ;;
esac
device=cuda
tiny=
chosen=0
sdxl=(--models sdxl-random --people 3)
while (($#)); do
  case "$1" in
    --minutes) minutes="$2"; shift 2 ;;
    --device) device="$2"; shift 2 ;;
    --parts) IFS=, read -r -a parts <<<"$2"; chosen=1; shift 2 ;;
    --tune-all) sdxl+=(--tune-all "$2"); shift 2 ;;
    --tiny) tiny=1; shift ;;
    *) echo "there is no argument '$1'" >&2; exit 2 ;;
  esac
done

for part in "${parts[@]}"; do
  if [[ ! "$part" =~ ^(smoke|embedded|compared|tuned|float8|targets|preview|posed|largest|ratios)$ ]]; then
    echo "there is no part '$part': see the parts of both calls at the top of this script" >&2
    exit 2
  fi
done

all=(--method beyondscene --method plain --method demofusion --method direct)
shortcuts=beyondscene+controlnet_views=with_people+stride_background=96+background_every=2
unguided=beyondscene+guidance_scale=1+stride_background=96+view_weighting=feathered+steps=8
smoke=(--models toy-random --people 2 --steps 2 --rounds 1 --size 128x128 "${all[@]}" --method "$shortcuts" --method "$unguided"
  --tune channels_last --tune fused)
embedded=(--models embedded --precision float32 --people 3 --rounds 2 --size 1024x1024 --method plain --method beyondscene)
compared=("${sdxl[@]}" --steps 10 --rounds 2 --size 2048x2048 "${all[@]}")
tuned=("${sdxl[@]}" --steps 10 --rounds 1 --size 2048x2048 --method beyondscene
  --tune channels_last --tune fused --tune compiled)
float8=("${sdxl[@]}" --steps 10 --rounds 1 --size 2048x2048 --method beyondscene --tune float8 --tune float8+compiled)
targets=("${sdxl[@]}" --rounds 1 --size 4096x4096 --method beyondscene+stride_instance=64)
posed=("${sdxl[@]}" --rounds 1 --size 4096x4096 --method beyondscene+stride_instance=64+controlnet_views=with_people --tune-all half_vae)
largest=("${sdxl[@]}" --steps 25 --rounds 1 --size 8192x8192 --method beyondscene+stride_instance=64 --tune-all half_vae --cold)
preview=("${sdxl[@]}" --rounds 1 --size 8192x8192 --method "$unguided" --tune-all half_vae --cold) # an untimed picture would take half as long
ratios=("${sdxl[@]}" --steps 5 --rounds 1 --size 4096x4096 --method beyondscene --method plain --method demofusion)
if [[ "$device" != cpu ]]; then
  smoke+=(--tune float8) # a CPU knows it in the newest torch only
  preview+=(--device-memory 24)
fi
if [[ -n "$tiny" ]]; then
  toy=(--models toy-random --people 1 --steps 1 --rounds 1 --size 64x64)
  smoke=("${toy[@]}" "${all[@]}" --method "$shortcuts" --cold)
  embedded=(--models embedded --precision float32 --people 1 --steps 1 --rounds 1 --size 256x256 --method plain --method beyondscene --cold)
  compared=("${toy[@]}" --method plain --method beyondscene)
  tuned=("${toy[@]}" --method beyondscene --tune channels_last+fused --cold)
  float8=("${toy[@]}" --precision bfloat16 --method beyondscene --tune float8 --cold)
  targets=("${toy[@]}" --method beyondscene+stride_instance=64)
  posed=("${toy[@]}" --precision bfloat16 --method beyondscene+stride_instance=64+controlnet_views=with_people --tune-all half_vae)
  largest=("${toy[@]/64x64/128x128}" --precision bfloat16 --method beyondscene+stride_instance=64 --tune-all half_vae --cold)
  preview=("${toy[@]/64x64/128x128}" --precision bfloat16 --method "$unguided" --tune-all half_vae --cold)
  ratios=("${toy[@]}" --method beyondscene --method demofusion)
fi

source tools/gpu/prepare.sh
check_gpu "$device"
((chosen)) || rm -f "$out/$call".* # parts chosen by name join what is there
now="$out/now" # the part that runs
failed=0

# What the part $1 has measured joins the call's own files.
gather() {
  [[ -f "$now/bench.md" ]] || { echo "== $1: nothing was measured"; return; }
  { echo; echo "<!-- $1 -->"; cat "$now/bench.md"; } | tee -a "$out/$call.md"
  sed "s/^{/{\"part\":\"$1\",/" "$now/bench.jsonl" >>"$out/$call.jsonl"
}

for part in "${parts[@]}"; do
  declare -n arguments="$part"
  left_s="$("$python" -c "print(round(60 * $minutes - $SECONDS))")"
  echo "== $part, after $SECONDS s" | tee -a "$out/$call.log"
  if ((left_s < 20)); then # it would hardly have loaded
    echo "no time is left for it"
    continue
  fi
  rm -rf "$now"
  timeout --signal=INT --kill-after=5 "$left_s" "$python" -m beyondscene.backend bench --device "$device" --out "$now" \
    --minutes "$("$python" -c "print($left_s / 60)")" "${arguments[@]}" >/dev/null 2>>"$out/$call.log" || failed=$?
  gather "$part"
done
rm -rf "$now"
tail -n 40 "$out/$call.log"
exit "$failed"
