"""Real components at toy size: a whole model set with random weights in the hub's layout, made once per process."""

import os
from pathlib import Path

import msgspec
import pytest
from beyondscene.backend.models.sets import ModelSet, read_model_set
from beyondscene.protocol import KEYPOINT_NAMES, Character, Keypoint, RenderRequest, RenderSettings

# Processes that run tests side by side share the cores, as do those that they start; read when torch is first imported.
if processes := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(processes))))

# A person seen from the front, 1 high, hips in the origin, y down.
STANDING = {
    "Nose": (0, -0.48), "Neck": (0, -0.36),
    "RShoulder": (-0.09, -0.36), "RElbow": (-0.13, -0.2), "RWrist": (-0.14, -0.05),
    "LShoulder": (0.09, -0.36), "LElbow": (0.13, -0.2), "LWrist": (0.14, -0.05),
    "RHip": (-0.05, 0), "RKnee": (-0.06, 0.22), "RAnkle": (-0.06, 0.43),
    "LHip": (0.05, 0), "LKnee": (0.06, 0.22), "LAnkle": (0.06, 0.43),
    "REye": (-0.02, -0.5), "LEye": (0.02, -0.5), "REar": (-0.04, -0.49), "LEar": (0.04, -0.49),
}  # fmt: skip


def stand(name: str, prompt: str, x: float, y: float, height: float, depth: float = 5.0) -> Character:
    """A standing character, `height` pixels high, hips at (x, y)."""
    keypoints = tuple(
        Keypoint(x=x + height * STANDING[joint][0], y=y + height * STANDING[joint][1], depth=depth) for joint in KEYPOINT_NAMES
    )
    return Character(id=name.lower(), name=name, prompt=prompt, keypoints=keypoints)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> ModelSet:
    """A complete model set with random weights, training resolution 64 px."""
    from .tiny import save_tiny_model_set  # only here: the add-on's tests also run where there is no PyTorch

    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_tiny_model_set(folder)
    return read_model_set(folder)


@pytest.fixture
def two_people() -> RenderRequest:
    """192x128: Ana left and far, Bo right and near, overlapping a little; four steps."""
    return RenderRequest(
        width=192,
        height=128,
        seed=7,
        prompt="a city plaza",
        characters=(
            stand("Ana", "a person with a red shirt", 70, 64, 100, depth=6),
            stand("Bo", "a person with a blue shirt", 105, 66, 100, depth=4),
        ),
        settings=RenderSettings(steps=4),
    )


@pytest.fixture
def request_file(tmp_path: Path, two_people: RenderRequest) -> Path:
    path = tmp_path / "request.json"
    path.write_bytes(msgspec.json.encode(two_people))
    return path
