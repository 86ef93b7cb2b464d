"""A cache of the hub with the repositories of `sdxl`, at toy size."""

from pathlib import Path

import pytest
from beyondscene.backend.models.sets import ModelSet, read_model_set

from ...tiny_hub import REPOSITORIES, save_tiny_hub, write_manifest


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    save_tiny_hub(folder)
    return folder


@pytest.fixture
def hub_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))


@pytest.fixture
def hub_set(hub_cache: None, tmp_path: Path) -> ModelSet:
    """The repositories of `sdxl`, for views of 64 px."""
    return read_model_set(write_manifest(tmp_path / "set", dict(REPOSITORIES)))
