"""What the denoiser learns: the velocity, and to do without text or pose as often as it is meant to."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from beyondscene.backend.mannequins.scenes import draw_view
from beyondscene.backend.training.binding import Binding
from beyondscene.backend.training.checkpoints import half_precision
from beyondscene.backend.training.denoiser import Denoiser, DenoiserSizes, build_scheduler
from beyondscene.backend.training.diffusion import gradient_finder, weigh_error
from beyondscene.backend.training.latents import Batch, LatentSet, draw_batch, encode_renders
from beyondscene.backend.training.renders import stack_views
from beyondscene.backend.training.rounding import Rounded, matrices
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
    epsilon = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(0))
    clean, off = batch.latents.double(), torch.zeros(())

    def noise_in(noisy: Tensor) -> Tensor:
        return (noisy.double() - alpha.sqrt() * clean) / (1 - alpha).sqrt()

    def velocity(noisy: Tensor) -> Tensor:
        return alpha.sqrt() * noise_in(noisy) - (1 - alpha).sqrt() * clean + off

    def loss(predict: Callable[[Tensor], Tensor]) -> float:
        return float(weigh_error(predict, batch.latents, epsilon, alphas[batch.timesteps], batch.weights))

    assert loss(velocity) < 1e-6
    assert loss(noise_in) > 0.1
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
        states, pooled = text(tokens)
        return denoiser(batch.latents, batch.timesteps, states, pooled, kept_text, poses.float() / 255, kept_pose, batch.sizes)

    other_words, other_poses = batch.tokens.flip(1), 255 - batch.poses
    assert not torch.equal(predict(all_rows, none), predict(all_rows, none, tokens=other_words))
    assert torch.equal(predict(none, none), predict(none, none, tokens=other_words))
    assert not torch.equal(predict(none, all_rows), predict(none, all_rows, poses=other_poses))
    assert torch.equal(predict(all_rows, none), predict(all_rows, none, poses=other_poses))


def test_gradients_are_those_of_a_backward_pass_in_the_layout_of_the_weights(latents: LatentSet) -> None:
    torch.manual_seed(0)
    drawn = (draw_batch(latents, TOKENIZERS, np.random.default_rng(seed), 6, 8, 4) for seed in range(99))
    batch = next(one for one in drawn if len(one.several))
    text = TextEncoders(TextSettings(widths=(32, 32), layers=(1, 1)), TOKENIZERS[0])
    denoiser = Denoiser(DenoiserSizes(widths=(32, 32, 32), pose_widths=(8, 8, 8, 8)), text)
    torch.nn.init.normal_(denoiser.unet.conv_out.weight)
    denoiser.unet.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    learnt, epsilon = list(denoiser.parameters()), torch.randn_like(batch.latents)
    alpha = build_scheduler().alphas_cumprod[batch.timesteps]
    before = [parameter.detach().clone() for parameter in learnt]
    with half_precision(CPU):
        states, pooled = text(batch.tokens)
    loss, bound, *gradients = gradient_finder(denoiser, learnt, 0.1)(
        batch.latents, epsilon, alpha, batch.weights, batch.timesteps, states, pooled, batch.kept_text, batch.poses,
        batch.kept_pose, batch.sizes, batch.owners, batch.people, batch.several,
    )  # fmt: skip
    assert all(map(torch.equal, learnt, before)) and float(bound) > 0

    def predict(noisy: Tensor) -> Tensor:
        told = (*text(batch.tokens), batch.kept_text, batch.poses.float() / 255, batch.kept_pose, batch.sizes)
        return denoiser(noisy, batch.timesteps, *told)

    with Rounded(matrices(denoiser.unet, denoiser.controlnet)), half_precision(CPU):
        with Binding(denoiser.unet, batch.owners, batch.people, batch.several) as binding:
            again = weigh_error(predict, batch.latents, epsilon, alpha, batch.weights)
        (again + 0.1 * binding.loss()).backward()
    assert float(again.detach()) == pytest.approx(float(loss), rel=1e-3)
    assert all(gradient.stride() == one.stride() for gradient, one in zip(gradients, learnt, strict=True))
    expected = [torch.zeros_like(one) if one.grad is None else one.grad for one in learnt]
    length = torch.stack([one.norm() for one in expected]).norm()
    assert all((one - other).norm() < 0.02 * length for one, other in zip(gradients, expected, strict=True))
