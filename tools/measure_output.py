"""Time, size and peak memory of writing a large picture, one process per format.

    python tools/measure_output.py [--size 16384x16384] [--formats png,tif,exr]

The picture is what a pipeline hands over: uint8 pixels that the embedded model's decoder made of its latents for the example
picture, repeated over the canvas, and two people's masks. Peak memory is what the process holds at most while it writes,
beyond the picture itself.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).parent.parent / "docs" / "duo.jpg"
PART_PX = 512


def decoded_part() -> np.ndarray:
    """uint8 (512, 512, 3): a part of the example picture, through the embedded model's latents and back."""
    import cv2
    import torch
    from beyondscene.backend.models.load import load_models
    from beyondscene.backend.models.sets import choose_model_set
    from beyondscene.backend.pipeline.latents import decode_latents, encode_image

    models = load_models(choose_model_set("embedded"), torch.device("cpu"), torch.float32)
    picture = cv2.cvtColor(np.asarray(cv2.imread(str(SOURCE))), cv2.COLOR_BGR2RGB)[:PART_PX, :PART_PX]
    return decode_latents(models, encode_image(models, picture), dtype=np.uint16)


def resident_bytes(key: str) -> int:
    """VmRSS or VmHWM of this process."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(key)).split()[1]) * 1024


def measure(part_file: Path, width: int, height: int, suffix: str) -> None:
    """Write one picture in this process and print a line about it."""
    from beyondscene.backend.outputs import Layer, Picture, choose_format, make_record, read_record, write_picture
    from beyondscene.protocol import RenderRequest

    part, dtype = np.load(part_file), choose_format(Path(f"out.{suffix}")).DTYPE
    if dtype is np.uint8:
        part = (part / 257).round().astype(dtype)
    image = np.empty((height, width, 3), dtype)
    random, side = np.random.default_rng(0), len(part)
    for top in range(0, height, side):
        for left in range(0, width, side):  # moved about, or what is repeated would be packed to nothing
            image[top : top + side, left : left + side] = np.roll(part, random.integers(0, side, 2), (0, 1))
    masks = np.zeros((2, 1024, 1024), bool)
    masks[0, 300:900, 200:450], masks[1, 350:850, 500:700] = True, True
    picture = Picture(image, (Layer("near", masks[0]), Layer("far", masks[1])))
    record = make_record(RenderRequest(width=width, height=height, prompt="a city plaza"), {}, "embedded", {}, "")
    with tempfile.TemporaryDirectory(dir=part_file.parent) as folder:
        path = Path(folder) / f"out.{suffix}"
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = resident_bytes("VmRSS")
        start = time.perf_counter()
        write_picture(path, picture, record)
        seconds = time.perf_counter() - start
        extra = resident_bytes("VmHWM") - before
        assert read_record(path).models == "embedded"
        print(
            f"{suffix}: {width}x{height}, {image.nbytes / 1e6:.0f} MB in memory, {path.stat().st_size / 1e6:.0f} MB on disk, "
            f"{seconds:.0f} s, {extra / 1e6:.0f} MB beyond the picture",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="16384x16384", help="width x height in pixels, multiples of 512")
    parser.add_argument("--formats", default="png,tif,exr")
    parser.add_argument("--part", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part is not None:
        width, height = (int(side) for side in args.size.split("x"))
        measure(args.part, width, height, args.formats)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.npy"
        np.save(part, decoded_part())
        for suffix in args.formats.split(","):
            command = [sys.executable, __file__, "--size", args.size, "--formats", suffix, "--part", str(part)]
            subprocess.run(command, check=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
