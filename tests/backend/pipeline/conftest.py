"""Networks of the layouts that people use, at toy size with random weights."""

import pytest
import torch
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import read_model_set

from ...tiny_hub import REPOSITORIES, save_tiny_hub, save_tiny_sd15, write_manifest

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """SDXL: text encoders of two widths, an Euler schedule, an inpainting UNet of 9 channels; views of 64 px."""
    folder = tmp_path_factory.mktemp("sdxl")
    save_tiny_hub(folder / "hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))
        made = read_model_set(write_manifest(folder / "set", dict(REPOSITORIES)))
        folders = {role: str(made.role_folder(role)) for role in REPOSITORIES}  # type: ignore[arg-type]
    return load_models(read_model_set(write_manifest(folder / "local", folders)), CPU, torch.float32)


@pytest.fixture(scope="session")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Stable Diffusion 1.5: one text encoder."""
    return load_models(read_model_set(save_tiny_sd15(tmp_path_factory.mktemp("sd15"))), CPU, torch.float32)
