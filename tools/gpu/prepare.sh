# Sourced by the scripts beside it, from the repository root, with `minutes` set. Sets `python`, `out` and `here`, and makes the package importable.
#
#   PYTHON   the interpreter that has torch; default: python3
#   OUT      folder that receives the results; default: out/gpu
#
# What PYTHON lacks comes from the wheels in .whl/, where that folder is there: on a machine without a network. fetch_wheels.sh
# makes it where there is one. git ignores it, so it must be taken along by name: a copy of the repository alone does not hold it.
# Without that folder, a virtual environment is made with pip, on top of what PYTHON has.
if [[ ! "$minutes" =~ ^[0-9]*\.?[0-9]+$ ]]; then
  echo "--minutes is '$minutes': write a number, as 8.5" >&2
  exit 2
fi
python="${PYTHON:-python3}"
out="${OUT:-out/gpu}"
here="$PWD/build/gpu"
mkdir -p "$here/package" "$out"
ln -sfn "$PWD" "$here/package/beyondscene"
# what most machines lack comes first
needed="import msgspec, platformdirs, diffusers, accelerate, cv2, peft, PIL, psutil, rich, scipy, torch, transformers"
needed+="; import beyondscene.backend.bench.run, beyondscene.backend.training.embedded, beyondscene.backend.evaluation.run"
export PYTHONPATH="$here/package${PYTHONPATH:+:$PYTHONPATH}"

if ! "$python" -c "$needed" 2>/dev/null; then
  if [[ -d .whl ]]; then
    if [[ ! -d "$here/site" ]]; then
      rm -rf "$here/site.part"
      "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$here/site.part" .whl/*.whl
      mv "$here/site.part" "$here/site"
    fi
    export PYTHONPATH="$here/site:$PYTHONPATH"
  else
    [[ -d "$here/venv" ]] || "$python" -m venv --system-site-packages "$here/venv"
    python="$here/venv/bin/python"
    "$python" -c "$needed" 2>/dev/null || "$python" -m pip install --quiet --editable . matplotlib
  fi
  if ! "$python" -c "$needed"; then
    echo "$python lacks what is named above: run tools/gpu/fetch_wheels.sh where there is a network, and bring .whl along" >&2
    exit 2
  fi
fi

# Print the GPU, or refuse; $1 is the device that was asked for.
check_gpu() {
  [[ "$1" == cpu ]] && return
  "$python" - <<'PY'
import sys, torch
if not torch.cuda.is_available():
    sys.exit(f"torch {torch.__version__} sees no CUDA device here: pass --device cpu to try the script without one")
free, total = torch.cuda.mem_get_info()
print(f"{torch.cuda.get_device_name()}: {free / 2**30:.0f} of {total / 2**30:.0f} GiB free, torch {torch.__version__}")
PY
}
