"""What a model set is measured by gives true pictures full marks, and wrong ones few."""

import subprocess
import sys

import numpy as np
import pytest
from beyondscene.backend.evaluation.judge import Found
from beyondscene.backend.mannequins.scenes import Rendering
from beyondscene.backend.training.measurements import measure_poses
from beyondscene.backend.training.samples import draw_held_out
from msgspec.structs import replace


class Oracle:
    """A judge that knows everybody's joints, in an order of its own, moved by `shift_px`."""

    name, notes, of_photographs = "oracle", (), False

    def __init__(self, views: list[Rendering], shift_px: float = 0.0) -> None:
        self.views, self.shift_px = {view.picture.tobytes(): view for view in views}, shift_px

    def people(self, picture: np.ndarray) -> Found:
        points = self.views[picture.tobytes()].far_to_near[:, :, :2] + self.shift_px
        return Found(points, np.ones(len(points)))

    def regions(self, picture: np.ndarray, instances: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def features(self, patches: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def text_match(self, pictures: list[np.ndarray], texts: list[str]) -> np.ndarray | None:
        return None

    def preference(self, picture: np.ndarray, text: str) -> float | None:
        return None


@pytest.fixture(scope="module")
def views() -> list[Rendering]:
    return draw_held_out(6, ("several",))


def test_everybodys_joints_count(views: list[Rendering]) -> None:
    pictures = np.stack([view.picture for view in views])
    assert measure_poses(pictures, views, Oracle(views)) == 1
    assert measure_poses(pictures, views, Oracle(views, shift_px=40)) < 0.2
    one_each = [replace(view, keypoints=view.keypoints[:1]) for view in views]
    found = Oracle(one_each)  # who finds one person of each view has but their joints right
    assert 0.2 < measure_poses(pictures, views, found) < 0.7


def test_its_help_waits_for_no_network() -> None:
    missing = "import sys; sys.modules.update(dict.fromkeys(('torch', 'transformers', 'diffusers'))); sys.argv[1:] = ['--help']"
    script = f"{missing}; from beyondscene.backend.training.measure import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "where metrics.json and samples.png go" in done.stdout and not done.stderr
