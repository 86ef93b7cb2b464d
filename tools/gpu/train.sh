#!/usr/bin/env bash
# Train the embedded model further, its LoRA for few steps, or the judge on a machine with a CUDA GPU, in one call.
#
#   tools/gpu/train.sh embedded [--minutes 8.5] [--steps 20000] [--views 16000] [--seed 1] [--meanwhile COMMAND] [--unmeasured]
#   tools/gpu/train.sh few-steps [--minutes 8.5] [--steps 500]   # for the model above, else the repository's
#   tools/gpu/train.sh judge [--minutes 8.5] [--steps 4000] [--batch 16]
#   each also [--tiny] [--device cuda]
#
# Run it from the repository root. Seen on an H100 with 16 cores, which draw what is learnt from; the judge's reckoned:
#   embedded   goes on from the repository's weights and trains UNet and ControlNet alone. 40000 views take a minute to render and
#              a minute and a half to read and encode. A step of 256 views takes 0.12 s, recorded as a CUDA graph (0.19 s where that
#              fails, which the log says), and as many are taken as fit. A run of its own, on views of its own (--seed 1): the next
#              one goes on from the weights that are committed then, and takes another --seed. --meanwhile: what shall use the GPU
#              while views are rendered; training waits for it, but not beyond --minutes.
#   few-steps  renders 6000 views in 40 s, then learns from the model itself.
#   judge      begins anew: 64000 samples of 0.1 s on 15 cores are 430 s. The repository's had 3000 steps of 16.
# What stops for want of time says so. It goes on when called again with the same arguments, where build/gpu/ is still there; that
# has 2 GB of renders, so it is not for carrying, but the checkpoints of judge (14 MB) and few-steps (7 MB) are:
# $OUT/work-judge.tar.part-* and $OUT/work-few-steps.tar.part-*, to be unpacked in build/gpu. A run of embedded that was fitted to its
# time and has come to its end is finished: called again, it does nothing more. Left in $OUT, in at most 6 files: the log, the weights, split into parts below 16 MB,
#   cat "$OUT"/embedded.tar.part-* | tar -x -C backend/models
#   cat "$OUT"/judge.tar.part-* | tar -x -C backend/evaluation
# and of the embedded model losses.png (where matplotlib is there), metrics.json and samples.png, where time is left for them.
# --unmeasured leaves metrics.json and samples.png out: they are made in ten minutes without a GPU, too.
# --tiny tries the script itself. PYTHON and OUT: see prepare.sh.
set -euo pipefail

what="${1:-}"
[[ "$what" =~ ^(embedded|few-steps|judge)$ ]] || { echo "the first argument is 'embedded', 'few-steps' or 'judge'" >&2; exit 2; }
shift
minutes=8.5
device=cuda
tiny=
unmeasured=
meanwhile=
given=()
while (($#)); do
  case "$1" in
    --minutes) minutes="$2"; shift 2 ;;
    --device) device="$2"; shift 2 ;;
    --tiny) tiny=1; shift ;;
    --unmeasured) unmeasured=1; shift ;;
    --meanwhile) meanwhile="$2"; shift 2 ;;
    *) given+=("$1"); shift ;;
  esac
done

if [[ -n "$meanwhile" && "$what" != embedded ]]; then
  echo "--meanwhile fills the time in which 'embedded' renders its views: leave it out for '$what'" >&2
  exit 2
fi

source tools/gpu/prepare.sh
if [[ "$what" == embedded && "$device" != cpu ]] && shm=$(df --output=avail -B1M /dev/shm | tail -n 1) && ((shm < 3000)); then
  echo "/dev/shm has $shm MB free, but those who load batches pass on 3 GB there: mount -o remount,size=8G /dev/shm" >&2
  exit 2
fi
check_gpu "$device"
work="$here/work-$what"
made="$what"
if [[ -n "$tiny" ]]; then rm -rf "$here/work-$what" "$here/$what" "$here/tiny" "$here/work-tiny"; fi # begin anew
measure_s="${unmeasured:+0}"
measure_s="${measure_s:-60}" # that the embedded model's measures take on a GPU
case "$what" in
  embedded)
    command=(beyondscene.backend train embedded --out "$here/embedded")
    if [[ -n "$tiny" ]]; then
      command+=(--tiny)
    else
      command+=(--start backend/models/embedded --further denoiser --steps 20000 --fit --views 16000 --seed 1)
    fi ;;
  few-steps)
    made=embedded work="$here/work-embedded" # whose renders it takes: the same seed
    if [[ -n "$tiny" ]]; then work="$here/work-tiny" made=tiny; fi
    [[ -d "$here/$made" ]] || cp -r backend/models/embedded "$here/$made"
    command=(beyondscene.backend train few-steps --models "$here/$made" --seed 1)
    if [[ -n "$tiny" ]]; then command+=(--steps 1 --views 8); fi ;;
  judge)
    measure_s=5
    command=(beyondscene.backend.evaluation.train_judge --out "$here/judge" --batch 16 --steps 4000)
    if [[ -n "$tiny" ]]; then command+=(--batch 2 --steps 2 --processes 1); fi ;;
esac
left() { "$python" -c "print(max(1, round(60 * $minutes - $SECONDS - ${1:-0})))"; }
if [[ -n "$meanwhile" ]]; then
  limit=(timeout --kill-after=10 "$(left 15)") # not INT, which what runs in the background is deaf to
  nice -n 15 "${limit[@]}" "$python" -m "${command[@]}" --work "$work" --device "$device" "${given[@]}" --render-only \
    >"$here/render.log" 2>&1 &
  # shellcheck disable=SC2086  # a command with its arguments
  "${limit[@]}" $meanwhile || echo "'$meanwhile' failed with status $?" >&2
  wait "$!" || true # with the status that says: call again to go on
fi
status=0
timeout --signal=INT --kill-after=10 "$(left 5)" "$python" -m "${command[@]}" --work "$work" --device "$device" "${given[@]}" \
  --minutes "$("$python" -c "print($(left "$((measure_s + 40))") / 60)")" >"$here/$what.log" 2>&1 || status=$?
tail -n 5 "$here/$what.log"
cp "$here/$what.log" "$out/"
# Pack as $1 what follows, below build/gpu, below 16 MB a part.
pack() {
  rm -f "$out/$1".tar.part-*
  tar -c -C "$here" "${@:2}" | split -b 15000000 - "$out/$1.tar.part-"
}
if [[ -d "$here/$made" ]]; then pack "$made" "$made"; fi
if [[ "$what" == judge && "$status" == 3 ]]; then pack work-judge work-judge; fi
begun="${work#"$here/"}/few-steps"
if [[ "$what" == few-steps && "$status" == 3 && -f "$here/$begun/few_steps.safetensors" ]]; then
  pack work-few-steps "$begun"/{run.json,few_steps.safetensors} # without what is encoded from the renders
fi
if [[ "$what" == embedded && -f "$work/train.jsonl" ]]; then
  "$python" tools/plot_training.py "$work/train.jsonl" "$out/losses.png" || echo "no plot of the losses" >&2
  if [[ -d "$here/embedded" && -z "$tiny$unmeasured" ]]; then
    timeout "$(left)" "$python" -m beyondscene.backend.training.measure "$here/embedded" "$out" >"$here/measure.log" 2>&1 ||
      echo "the weights were not measured: call beyondscene.backend.training.measure on them" >&2
  fi
fi
case "$status" in
  0) echo "finished" ;;
  3 | 124 | 130 | 137) echo "out of time; call again"; exit 3 ;;
  *) echo "failed with status $status" >&2; exit "$status" ;;
esac
