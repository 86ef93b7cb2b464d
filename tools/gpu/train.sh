#!/usr/bin/env bash
# Train the embedded model, its LoRA for few steps, or the judge on a machine with a CUDA GPU, a slice of time per call.
#
#   tools/gpu/train.sh embedded [--minutes 8.5] [--steps 8000] [--tiny] [--device cuda]
#   tools/gpu/train.sh few-steps [--minutes 8.5] [--steps 500] [--device cuda]    # for the model above, else the repository's
#   tools/gpu/train.sh judge [--minutes 8.5] [--steps 12000] [--batch 64] [--device cuda]
#
# Run it from the repository root, with the same arguments until it says "finished": each call goes on from the checkpoints in
# build/gpu/, which git ignores and which must still be there. Left in $OUT: the log; the weights, split into parts below 16 MB,
#   cat "$OUT"/embedded.tar.part-* | tar -x -C backend/models
#   cat "$OUT"/judge.tar.part-* | tar -x -C backend/evaluation
# and, of the embedded model, the losses so far (losses.png, where matplotlib is there) and, when it is finished, metrics.json and
# samples.png. PYTHON and OUT: see prepare.sh.
set -euo pipefail

what="${1:-}"
[[ "$what" =~ ^(embedded|few-steps|judge)$ ]] || { echo "the first argument is 'embedded', 'few-steps' or 'judge'" >&2; exit 2; }
shift
minutes=8.5
device=cuda
tiny=
given=()
while (($#)); do
  case "$1" in
    --minutes) minutes="$2"; shift 2 ;;
    --device) device="$2"; shift 2 ;;
    --tiny) tiny=1; given+=("$1"); shift ;;
    *) given+=("$1"); shift ;;
  esac
done

source tools/gpu/prepare.sh
check_gpu "$device"
work="$here/work-$what"
made="$what"
case "$what" in
  embedded) command=(beyondscene.backend.training embedded --out "$here/embedded") ;;
  few-steps)
    made=embedded work="$here/work-embedded"
    [[ -d "$here/embedded" ]] || cp -r backend/models/embedded "$here/embedded"
    command=(beyondscene.backend.training few-steps --models "$here/embedded") ;;
  judge) command=(beyondscene.backend.evaluation.train_judge --out "$here/judge") ;;
esac
status=0
"$python" -m "${command[@]}" --work "$work" --minutes "$minutes" --device "$device" "${given[@]}" \
  >"$here/$what.log" 2>&1 || status=$?
tail -n 5 "$here/$what.log"
cp "$here/$what.log" "$out/"
if [[ -d "$here/$made" ]]; then
  rm -f "$out/$made".tar.part-*
  tar -c -C "$here" "$made" | split -b 15000000 - "$out/$made.tar.part-"
fi
if [[ "$what" == embedded && -f "$work/train.jsonl" ]]; then
  "$python" tools/plot_training.py "$work/train.jsonl" "$out/losses.png" || echo "no plot of the losses" >&2
  if ((status == 0)) && [[ -z "$tiny" ]]; then
    "$python" -m beyondscene.backend.training.measure "$here/$what" "$out"
  fi
fi
case "$status" in
  0) echo "finished" ;;
  3) echo "out of time; call again" ;;
  *) echo "failed with status $status" >&2; exit "$status" ;;
esac
