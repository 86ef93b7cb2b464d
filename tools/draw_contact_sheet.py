"""Draw docs/embedded-renders.png: training views of every framing, and what comes with each.

python tools/draw_contact_sheet.py [OUT.png]
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from beyondscene.backend.mannequins.raster import REGIONS
from beyondscene.backend.mannequins.scenes import FRAMINGS, Rendering, draw_view
from beyondscene.backend.pose import draw_pose

SIDE_PX, COLUMNS, SEED = 160, 8, 7


def row_of(pictures: list[np.ndarray]) -> np.ndarray:
    return np.hstack([cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for picture in pictures])


def annotations(view: Rendering) -> list[np.ndarray]:
    """Skeletons, people, regions, depth and normals as pictures, uint8 (256, 256, 3)."""
    hues = np.arange(256, dtype=np.float32)
    palette = np.stack([127 + 120 * np.cos(2.4 * hues + shift) for shift in (0, 2, 4)], -1).astype(np.uint8)
    palette[0] = 0
    near = np.clip(510 / view.depth, 0, 255)[..., None].repeat(3, -1)
    return [
        draw_pose(list(view.far_to_near[:, :, :3]), 256, 256, 4),
        palette[view.instance],
        palette[view.region],
        near.astype(np.uint8),
        (view.normal * 127 + 128).astype(np.uint8),
    ]


def main() -> int:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "docs" / "embedded-renders.png"
    if not out.parent.is_dir():
        print(f"There is no folder {out.parent}: make it, or name another place for the sheet.", file=sys.stderr)
        return 2
    rows = []
    for number, framing in enumerate(FRAMINGS):
        views = [draw_view(np.random.default_rng([SEED, number, i]), 256, framing) for i in range(COLUMNS)]
        rows.append(row_of([view.picture for view in views]))
        if framing in ("portrait", "several"):
            rows += [row_of(list(kind)) for kind in zip(*(annotations(view) for view in views), strict=True)]
    cv2.imwrite(str(out), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    print(
        f"{out}: {', '.join(FRAMINGS)}; under portraits and groups: skeletons, people, {len(REGIONS)} regions, depth, normals"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
