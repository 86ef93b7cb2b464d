#!/usr/bin/env bash
# Render 16384x16384 with the embedded model on one CUDA GPU, which torch may take 24 GiB of, and say what it took.
#
#   tools/gpu/largest.sh [--minutes 4] [--side 16384] [--tiny] [--device cuda]
#
# Run it from the repository root. Left in $OUT: largest.json (seconds of each stage, memory at most), largest.jpg (2048 wide), and
# middle.png, 512 pixels out of the middle as they are. The picture itself, some 170 MB, stays in build/gpu. --tiny tries the script.
# PYTHON and OUT: see prepare.sh.
set -euo pipefail

minutes=4
device=cuda
side=16384
while (($#)); do
  case "$1" in
    --minutes) minutes="$2"; shift 2 ;;
    --side) side="$2"; shift 2 ;;
    --device) device="$2"; shift 2 ;;
    --tiny) side=512; shift ;;
    *) echo "there is no argument '$1'" >&2; exit 2 ;;
  esac
done

source tools/gpu/prepare.sh
check_gpu "$device"
picture="$here/largest.tif"
left_s="$("$python" -c "print(max(1, round(60 * $minutes - $SECONDS)))")"
timeout --signal=INT --kill-after=10 "$left_s" "$python" - "$picture" "$out" "$device" "$side" <<'PY'
import json, resource, sys, time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

picture, out, device, side = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

import cv2, msgspec, torch
from beyondscene.backend.bench.scene import bench_request
from beyondscene.backend.cli import main
from beyondscene.backend.models.device_memory import hold_to

asked = bench_request(5, side, side)
asked = msgspec.structs.replace(asked, settings=msgspec.structs.replace(asked.settings, few_steps=True))
request = picture.with_suffix(".json")
request.write_bytes(msgspec.json.encode(asked))
if device != "cpu":
    hold_to(torch.device(device), 24)
begun_s = time.monotonic()
with redirect_stdout(StringIO()) as said:
    status = main(["render", str(request), "-o", str(picture), "--device", device, "--precision", "bfloat16", "--json"])
told = json.loads(said.getvalue())
told["whole_s"] = time.monotonic() - begun_s
told["peak_host_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
told["peak_device_mib"] = torch.cuda.max_memory_allocated() / 2**20 if device != "cpu" else 0
told["file_mib"] = picture.stat().st_size / 2**20
(out / "largest.json").write_text(json.dumps(told, indent=1) + "\n")
print(json.dumps({key: told[key] for key in told if key not in ("request", "settings")}))
read = cv2.imread(str(picture))
assert read is not None and read.shape == (side, side, 3), "the file does not hold the picture"
cv2.imwrite(str(out / "largest.jpg"), cv2.resize(read, (2048, 2048), interpolation=cv2.INTER_AREA))
corner = side // 2 - 256
cv2.imwrite(str(out / "middle.png"), read[corner : corner + 512, corner : corner + 512])
sys.exit(status)
PY
echo "finished"
