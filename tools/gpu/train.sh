#!/usr/bin/env bash
# Train the embedded model or the judge on a lent machine with a CUDA GPU and no network, a slice of time per call.
#
#   tools/gpu/train.sh embedded [--minutes 8.5] [--steps 8000] [--tiny] [--device cuda]
#   tools/gpu/train.sh judge [--minutes 8.5] [--steps 12000] [--batch 64] [--device cuda]
#
# Run it from the repository root, with the same arguments until it says "finished": each call goes on from the checkpoints in
# build/training/, which git ignores and which must still be there. The weights, split into parts below 16 MB, are left in $OUT:
#   cat "$OUT"/embedded.tar.part-* | tar -x -C backend/models
#   cat "$OUT"/judge.tar.part-* | tar -x -C backend/evaluation
#
# The machine brings python3 and torch. What it may lack comes along as wheels in .whl/ (ignored by git too); fetch them
# where there is a network, for the machine's Python version:
#   pip download --no-deps --only-binary=:all: --dest .whl diffusers transformers tokenizers safetensors msgspec \
#       huggingface_hub accelerate regex "opencv-python-headless<4.12" "numpy<2" pillow psutil scipy
set -euo pipefail

declare -A modules=([embedded]=beyondscene.backend.training [judge]=beyondscene.backend.evaluation.train_judge)
what="${1:-}"
module="${modules[$what]:?the first argument is 'embedded' or 'judge'}"
shift
minutes=8.5
given=()
while (($#)); do
  case "$1" in
    --minutes) minutes="$2"; shift 2 ;;
    *) given+=("$1"); shift ;;
  esac
done

out="${OUT:?set OUT to the folder that should receive the weights}"
python="${PYTHON:-python3}"
here="$PWD/build/training"
mkdir -p "$here/package" "$out"
ln -sfn "$PWD" "$here/package/beyondscene"
if [[ -d .whl && ! -d "$here/site" ]]; then
  "$python" -m pip install --quiet --no-index --no-deps --target "$here/site" .whl/*.whl
fi
export PYTHONPATH="$here/package:$here/site${PYTHONPATH:+:$PYTHONPATH}"

status=0
"$python" -m "$module" --work "$here/work-$what" --out "$here/$what" --minutes "$minutes" "${given[@]}" \
  >"$here/$what.log" 2>&1 || status=$?
tail -n 5 "$here/$what.log"
cp "$here/$what.log" "$out/"
if [[ -d "$here/$what" ]]; then
  rm -f "$out/$what".tar.part-*
  tar -c -C "$here" "$what" | split -b 15000000 - "$out/$what.tar.part-"
fi
case "$status" in
  0) echo "finished" ;;
  3) echo "out of time; call again" ;;
  *) echo "failed with status $status" >&2; exit "$status" ;;
esac
