"""A VAE in tiles must be the VAE: same picture as untiled, one tone over the whole canvas."""

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.memory_saving import MemorySaving
from beyondscene.backend.models.sets import ModelSet, choose_model_set
from beyondscene.backend.pipeline import vae_steps
from beyondscene.backend.pipeline.latents import decode_latents, encode_image
from beyondscene.backend.pipeline.vae_steps import Activations, Attend, Norm, Step, decoder_steps, encoder_steps, reaches
from beyondscene.backend.pipeline.vae_tiles import Tile, plan_tiles, run_tiled
from beyondscene.protocol import Refusal
from diffusers import AutoencoderKL
from torch import Tensor, nn


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    """SDXL's layout, with attention in the mid block, narrow and with random weights."""
    torch.manual_seed(0)
    levels: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (8, 8, 16, 16),
    }
    return AutoencoderKL(**levels, layers_per_block=2, norm_num_groups=4).eval()


@pytest.fixture(scope="module")
def models(tiny_models: ModelSet) -> Models:
    return load_models(tiny_models, torch.device("cpu"), torch.float32)


@torch.inference_mode()
def tiled(steps: list[Step], field: Tensor, window: int, scale: float, held_bytes: int) -> Tensor:
    """The network over `field` (C, H, W), put together from at least four tiles."""
    height, width = field.shape[-2:]
    done = torch.zeros(0)
    tiles = 0
    for tile, part in run_tiled(
        steps, lambda tile: field[:, slice(*tile.seen_rows), slice(*tile.seen_columns)], height, width,
        window=window, held_bytes=held_bytes,
    ):  # fmt: skip
        done = done if tiles else torch.full((part.shape[0], int(height * scale), int(width * scale)), torch.nan)
        rows, columns = (slice(int(first * scale), int(end * scale)) for first, end in (tile.rows, tile.columns))
        done[:, rows, columns] = part
        tiles += 1
    assert tiles >= 4
    return done


def psnr_db(one: Tensor, other: Tensor) -> float:
    span = other.max() - other.min()
    return float(10 * torch.log10(span**2 / (one - other).square().mean()))


def uneven(channels: int, height: int, width: int) -> Tensor:
    """Noise under a slope from dark to light, so that tiles by themselves would have other statistics."""
    noise = torch.randn(channels, height, width, generator=torch.Generator().manual_seed(1))
    return 0.3 * noise + torch.linspace(-1, 1, width)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_moments_of_a_tile_are_those_of_double_precision(dtype: torch.dtype, layout: torch.memory_format) -> None:
    lone = torch.Generator().manual_seed(3)
    shade = torch.randn(1, 64, 40, 1, generator=lone) + 5  # a plain area: each row of one shade, where errors of sums add up
    wide = (shade + 1e-3 * torch.randn(1, 64, 40, 2048, generator=lone)).to(dtype).contiguous(memory_format=layout)
    part = wide[..., 3:-2, 5:-5]
    count, mean, square = Norm(nn.GroupNorm(32, 64)).gather(part)
    group = part.double().reshape(32, -1)
    assert (count == group.shape[1]).all()
    for moment, exact in ((mean, group.mean(1)), (square, group.square().mean(1))):
        torch.testing.assert_close(moment, exact, rtol=3e-7, atol=0)


# All tiles wait at each GroupNorm, some tiles or layers are walked again for each, or all from the start.
@pytest.mark.parametrize("held_bytes", [2**30, 2**22, 2**20, 2**18, 0])
@torch.inference_mode()
def test_tiles_decode_to_the_untiled_picture(vae: AutoencoderKL, held_bytes: int) -> None:
    latents = uneven(4, 44, 48)
    whole = vae.decode(latents[None]).sample[0]  # type: ignore[arg-type, union-attr]
    assert psnr_db(tiled(decoder_steps(vae, 44 * 48), latents, 43, 8, held_bytes), whole) > 90


@pytest.mark.parametrize("held_bytes", [2**30, 0])
@torch.inference_mode()
def test_tiles_encode_to_the_untiled_latents(vae: AutoencoderKL, held_bytes: int) -> None:
    pixels = uneven(3, 264, 272)
    whole = vae.encode(pixels[None]).latent_dist.parameters[0]  # type: ignore[union-attr]
    assert psnr_db(tiled(encoder_steps(vae, 33 * 34), pixels, 248, 1 / 8, held_bytes), whole) > 90


@torch.inference_mode()
def test_tiles_that_wait_hold_no_more_than_allowed(vae: AutoencoderKL) -> None:
    read: list[int] = []  # a tile that is read again did not wait

    def read_tile(tile: Tile) -> Tensor:
        read.append(tile.rows[0])
        return latents[:, slice(*tile.seen_rows), slice(*tile.seen_columns)]

    latents = uneven(4, 44, 48)
    steps = decoder_steps(vae, 44 * 48)
    first_norm_bytes = 2 * 16 * 43 * 43 * 4  # of the largest tile: 16 channels, beside them the residual
    for held_bytes, times in ((0, len([s for s in steps if isinstance(s, Norm | Attend)]) + 1), (4 * first_norm_bytes, 1)):
        read.clear()
        assert len(list(run_tiled(steps, read_tile, 44, 48, window=43, held_bytes=held_bytes))) == 4
        assert len(read) == 4 * times


@torch.inference_mode()
def test_the_more_tiles_may_wait_the_less_is_walked_again(vae: AutoencoderKL) -> None:
    latents, watched = uneven(4, 44, 48), copy.deepcopy(vae)
    steps = decoder_steps(watched, 44 * 48)
    walked: list[int] = []
    for layer in (module for module in watched.decoder.modules() if isinstance(module, torch.nn.Conv2d)):
        layer.register_forward_hook(lambda layer, given, made: walked.append(made.numel()))  # type: ignore[union-attr]
    costs = []
    for held_bytes in (0, 2**19, 2**20, 2**21, 2**22, 2**23, 2**30):
        walked.clear()
        tiled(steps, latents, 43, 8, held_bytes)
        costs.append(sum(walked))
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == len(costs)  # each allowance is used: a part of the tiles waits where all would not fit


@torch.inference_mode()
def test_half_precision_keeps_the_tone_of_the_canvas(vae: AutoencoderKL) -> None:
    latents = uneven(4, 44, 48)
    whole = vae.decode(latents[None]).sample[0]  # type: ignore[arg-type, union-attr]
    half = copy.deepcopy(vae).bfloat16()
    untiled = half.decode(latents[None].to(torch.bfloat16)).sample[0].float()  # type: ignore[arg-type, union-attr]
    found = tiled(decoder_steps(half, 44 * 48), latents.to(torch.bfloat16), 43, 8, 2**30)
    assert psnr_db(found, whole) > psnr_db(untiled, whole) - 1
    assert abs(float((found - whole).mean())) < 0.001


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "least_db"), [(torch.float32, 60), (torch.float16, 45), (torch.bfloat16, 40)])
@torch.inference_mode()
def test_tiles_on_a_gpu_are_the_untiled_picture(vae: AutoencoderKL, dtype: torch.dtype, least_db: float) -> None:
    latents, there = uneven(4, 44, 48), copy.deepcopy(vae).to(dtype=dtype, device="cuda")  # type: ignore[call-overload]
    whole = vae.decode(latents[None]).sample[0]  # type: ignore[arg-type, union-attr]
    for held_bytes in (2**30, 2**20, 0):
        found = tiled(decoder_steps(there, 44 * 48), latents.to("cuda", dtype), 43, 8, held_bytes)
        assert psnr_db(found.float().cpu(), whole) > least_db


@torch.inference_mode()
def test_attention_that_looks_at_fewer_latents_stays_close(vae: AutoencoderKL, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = uneven(4, 44, 48)
    whole = vae.decode(latents[None]).sample[0]  # type: ignore[arg-type, union-attr]
    monkeypatch.setattr(vae_steps, "MAX_KEYS", 44 * 48 // 4)
    assert 45 < psnr_db(tiled(decoder_steps(vae, 44 * 48), latents, 43, 8, 2**30), whole) < 90


def test_the_embedded_model_in_tiles_is_itself() -> None:
    models = load_models(choose_model_set("embedded"), torch.device("cpu"), torch.float32)
    ramp = np.linspace(0, 255, 384, dtype=np.float32)[:, None]
    image = np.stack([ramp + 0 * ramp.T, 0 * ramp + ramp.T, (ramp + ramp.T) / 2], -1).astype(np.uint8)
    latents = encode_image(models, image)
    picture = decode_latents(models, latents)
    asked: list[int] = []
    models = dataclasses.replace(models, memory_saving=MemorySaving(vae_window_latents=40), check=lambda: asked.append(1))
    assert torch.allclose(encode_image(models, image), latents, atol=1e-4)
    assert np.abs(decode_latents(models, latents).astype(int) - picture).max() <= 1
    assert len(asked) > 4  # before each walk over a tile whether to go on: a cancel need not wait for the whole picture


def test_a_picture_of_one_tile_is_what_diffusers_makes(models: Models) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        expected = models.vae.encode(pixels).latent_dist.mode()[0] * models.vae.config["scaling_factor"]  # type: ignore[union-attr]
    assert torch.allclose(encode_image(models, image), expected, atol=1e-5)


def test_tiles_cover_the_canvas_once_and_carry_their_margins(vae: AutoencoderKL) -> None:
    reach = reaches(decoder_steps(vae, 1))[0]
    assert reach == (18, 1)  # latents, for two residual blocks per level, as in SDXL
    tiles = plan_tiles(300, 500, 160, reach)
    covered = np.zeros((300, 500), int)
    for tile in tiles:
        covered[slice(*tile.rows), slice(*tile.columns)] += 1
        assert all(end - first <= 160 for first, end in (tile.seen_rows, tile.seen_columns))
        assert tile.seen_rows == (max(0, tile.rows[0] - 18), min(300, tile.rows[1] + 18))
    assert (covered == 1).all()
    with pytest.raises(ValueError, match="has no room between margins"):
        plan_tiles(300, 500, 36, reach)


def test_no_numbers_are_no_black_picture(models: Models) -> None:
    """As half precision makes them, where a value is too large for it or a GPU is faulty."""
    latents = torch.zeros(4, 8, 8)
    decode_latents(models, latents)
    latents[0, 3, 3] = torch.nan
    with pytest.raises(Refusal, match="made NaN, not a picture, in float32: leave out LoRAs and embeddings"):
        decode_latents(models, latents)


def test_attention_never_makes_a_map_that_is_too_large(vae: AutoencoderKL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch makes a whole one, as on Apple's GPUs, 2**32 bytes would end the process."""
    (attend,) = (step for step in decoder_steps(vae, 24 * 24) if isinstance(step, Attend))
    tile = Activations(torch.randn(1, 16, 24, 24, generator=torch.Generator().manual_seed(0)))
    sizes: list[int] = []
    attention = vae_steps.functional.scaled_dot_product_attention

    def watch(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        sizes.append(query.shape[1] * query.shape[2] * key.shape[2])
        return attention(query, key, value)

    monkeypatch.setattr(vae_steps.functional, "scaled_dot_product_attention", watch)
    with torch.inference_mode():
        whole = attend.apply(tile, None).hidden
        monkeypatch.setattr(vae_steps, "MAX_MAP", 2**16)
        assert torch.allclose(attend.apply(tile, None).hidden, whole, atol=1e-6)
    assert sizes[0] == 24**4 and max(sizes[1:]) <= 2**16
