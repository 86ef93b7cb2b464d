"""A pose read once gives the ControlNet what the picture itself gives it, and the ControlNet is left as it was."""

from functools import partial

import numpy as np
import pytest
import torch
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.sets import ModelSet
from beyondscene.backend.pipeline.pose_embeddings import LazyPoseEmbedding, _pin, embed_poses, precomputed_pose_embeddings
from torch import nn


@pytest.fixture(scope="module")
def models(tiny_models: ModelSet) -> Models:
    return load_models(tiny_models, torch.device("cpu"), torch.float32)


def residuals(models: Models, conditioning: torch.Tensor) -> list[torch.Tensor]:
    """What the ControlNet adds to the UNet, for one latent and an empty prompt."""
    channels = models.controlnet.config["cross_attention_dim"]
    pooled = models.text_encoders[1].config.projection_dim
    assert pooled is not None
    with torch.inference_mode():
        down, middle = models.controlnet(
            torch.ones(1, 4, 8, 8), torch.tensor(500), torch.zeros(1, 77, channels), conditioning,
            added_cond_kwargs={"text_embeds": torch.zeros(1, pooled), "time_ids": torch.full((1, 6), 64.0)},
            return_dict=False,
        )  # fmt: skip
    return [*down, middle]


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_hints_replace_pictures_exactly(models: Models, order: str) -> None:
    controlnet = models.controlnet
    for conv in (*controlnet.controlnet_down_blocks, controlnet.controlnet_cond_embedding.conv_out):
        nn.init.normal_(conv.weight)  # pyright: ignore[reportArgumentType]
    controlnet.register_to_config(controlnet_conditioning_channel_order=order)
    pose = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    plain = residuals(models, torch.from_numpy(pose).permute(2, 0, 1)[None].float() / 255)
    blank = residuals(models, torch.zeros(1, 3, 64, 64))
    (embedding,) = embed_poses(controlnet, [lambda: pose], models.device)
    with precomputed_pose_embeddings(controlnet):
        hinted = residuals(models, embedding.to(models.dtype)[None])
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(plain, hinted, strict=True))
    assert not torch.allclose(plain[0], blank[0], atol=1e-3)


def test_the_controlnet_takes_pictures_again_after_a_fault(models: Models) -> None:
    reader = models.controlnet.controlnet_cond_embedding
    with pytest.raises(RuntimeError), precomputed_pose_embeddings(models.controlnet):
        raise RuntimeError
    assert models.controlnet.controlnet_cond_embedding is reader


def test_empty_poses_share_one_hint(models: Models) -> None:
    controlnet = models.controlnet
    lit = np.zeros((64, 64, 3), np.uint8)
    lit[3, 3] = 255
    poses = [partial(np.copy, picture) for picture in (np.zeros_like(lit), lit, np.zeros_like(lit))]
    first, second, third = embed_poses(controlnet, poses, models.device)
    assert first is third and first is not second


def test_what_is_not_kept_is_read_when_it_is_wanted(models: Models) -> None:
    random = np.random.default_rng(0)
    poses = [partial(np.copy, random.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(3)]
    kept = embed_poses(models.controlnet, poses, models.device)
    some = embed_poses(models.controlnet, poses, models.device, kept_bytes=1)
    assert [isinstance(embedding, LazyPoseEmbedding) for embedding in some] == [False, True, True]
    with torch.inference_mode():
        assert all(torch.equal(one.to(models.dtype), other.to(models.dtype)) for one, other in zip(kept, some, strict=True))


def test_hints_are_counted_as_what_they_take(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """A embedding of SDXL has 10 MiB, and takes 16 where it is pinned."""
    poses = [partial(np.full, (48, 48, 3), shade, np.uint8) for shade in (1, 2, 3, 4)]

    def kept(pose_embeddings: float) -> int:
        read = embed_poses(models.controlnet, poses, models.device, kept_bytes=int(pose_embeddings * size_bytes))
        return sum(isinstance(embedding, torch.Tensor) for embedding in read)

    (embedding,) = embed_poses(models.controlnet, poses[:1], models.device)
    assert isinstance(embedding, torch.Tensor)
    size_bytes, power = embedding.nbytes, 2 ** (embedding.nbytes - 1).bit_length()
    assert kept(3) == 3
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda _: True)
    assert power > 1.5 * size_bytes and kept(3) == 2


def test_what_may_not_be_pinned_is_kept_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """WSL 2 pins little, and says so as if the GPU were full, which no smaller batch would help."""

    def fail(tensor: torch.Tensor) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.Tensor, "pin_memory", fail)
    tensor = torch.ones(3)
    assert _pin(tensor, torch.device("cuda")) is tensor
