"""What the denoiser learns: the velocity, and to do without text or pose as often as it is meant to."""

from typing import Any

import numpy as np
import pytest
import torch
from beyondscene.backend.training.denoiser import Denoiser, DenoiserSizes, build_scheduler
from beyondscene.backend.training.diffusion import _loss
from beyondscene.backend.training.latents import Batch, LatentSet, draw_batch, encode_renders
from beyondscene.backend.training.renderer.scenes import draw_view
from beyondscene.backend.training.renders import stack_views
from beyondscene.backend.training.text import TextEncoders, TextSettings
from beyondscene.backend.training.tokenizer import build_tokenizers
from beyondscene.backend.training.vae import build_vae
from torch import Tensor

CPU = torch.device("cpu")
TOKENIZERS = build_tokenizers()


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> LatentSet:
    """Of three views without people and nine with some."""
    framings = ("empty", "several", "crowd", "portrait")
    renders = stack_views([draw_view(np.random.default_rng(i), 128, framings[i % 4]) for i in range(12)])
    path = tmp_path_factory.mktemp("latents") / "latents.safetensors"
    return encode_renders(build_vae((16, 16, 16, 16)), renders, path, CPU)


@pytest.fixture(scope="module")
def batch(latents: LatentSet) -> Batch:
    return draw_batch(latents, TOKENIZERS, np.random.default_rng(0), 6, 8, 4)


def test_the_true_velocity_has_no_loss_and_the_noise_has(batch: Batch) -> None:
    """v = sqrt(alpha) noise - sqrt(1 - alpha) clean (arXiv 2202.00512), weighted as the batch says."""
    alphas = build_scheduler().alphas_cumprod
    alpha = alphas[batch.timesteps].double()[:, None, None, None]
    clean, off = batch.latents.double(), torch.zeros(())

    def noise_in(noisy: Tensor) -> Tensor:
        return (noisy.double() - alpha.sqrt() * clean) / (1 - alpha).sqrt()

    def velocity(noisy: Tensor, timesteps: Tensor, *told: Any) -> Tensor:
        assert torch.equal(timesteps, batch.timesteps) and len(told) == 5
        return alpha.sqrt() * noise_in(noisy) - (1 - alpha).sqrt() * clean + off

    def loss(predict: Any) -> float:
        return float(_loss(predict, batch, alphas, torch.Generator().manual_seed(0)))

    assert loss(velocity) < 1e-6
    assert loss(lambda noisy, *_: noise_in(noisy)) > 0.1
    off = torch.full((), 0.5)
    assert loss(velocity) == pytest.approx(0.25 * float(batch.weights.mean()), rel=1e-3)


def test_text_and_pose_are_left_out_as_often_as_they_should_be(latents: LatentSet) -> None:
    batches = [draw_batch(latents, TOKENIZERS, np.random.default_rng(seed), 8, 8, 4) for seed in range(60)]
    text, pose = (torch.cat([getattr(one, name) for one in batches]) for name in ("kept_text", "kept_pose"))
    seen = torch.cat([one.people.flatten(1).amax(1) > 0 for one in batches])
    end = int(str(TOKENIZERS[0].eos_token_id))
    silent = torch.cat([one.tokens[0, :, 0, 1] for one in batches]).eq(end)  # the first word is the end
    assert set(text.tolist()) == set(pose.tolist()) == {0, 1} and 0 < seen.sum() < len(seen)
    for share, expected in (
        ((text == 0).float().mean(), 0.08),
        ((pose[seen] == 0).float().mean(), 0.25),
        ((pose[~seen] == 0).float().mean(), 0.4),
        (silent.float().mean(), 0.04),
    ):
        assert float(share) == pytest.approx(expected, rel=0.35)


def test_what_is_left_out_is_not_heard(batch: Batch) -> None:
    torch.manual_seed(0)
    text = TextEncoders(TextSettings(widths=(32, 32), layers=(1, 1)), TOKENIZERS[0])
    denoiser = Denoiser(DenoiserSizes(widths=(32, 32, 32), pose_widths=(8, 8, 8, 8)), text).eval()
    torch.nn.init.normal_(denoiser.unet.conv_out.weight)  # begins with nothing
    all_rows, none = torch.ones(6), torch.zeros(6)

    @torch.no_grad()
    def predict(kept_text: Tensor, kept_pose: Tensor, tokens: Tensor = batch.tokens, poses: Tensor = batch.poses) -> Tensor:
        return denoiser(batch.latents, batch.timesteps, tokens, kept_text, poses.float() / 255, kept_pose, batch.sizes)

    other_words, other_poses = batch.tokens.flip(1), 255 - batch.poses
    assert not torch.equal(predict(all_rows, none), predict(all_rows, none, tokens=other_words))
    assert torch.equal(predict(none, none), predict(none, none, tokens=other_words))
    assert not torch.equal(predict(none, all_rows), predict(none, all_rows, poses=other_poses))
    assert torch.equal(predict(all_rows, none), predict(all_rows, none, poses=other_poses))
