"""Training HcP layers: what the loss asks for, exact resuming, and that everything else stays as it was."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from beyondscene.backend.cli import main
from beyondscene.backend.models.hcp import HcpConfig, attach_hcp, cross_attention, load_hcp
from beyondscene.backend.models.sets import ModelSet, read_model_set
from beyondscene.backend.pipeline.prompts import Embedding
from beyondscene.backend.pipeline.text_attention import knowing_texts, stack_hidden
from beyondscene.backend.training.denoiser import load_denoiser
from beyondscene.backend.training.embedded import tiny_settings, train_embedded
from beyondscene.backend.training.hcp import (
    HcpSettings,
    ResnetFeatures,
    alignment_loss,
    attending,
    limbs,
    stage_weight,
    train_hcp,
)
from beyondscene.backend.training.human_prior import HumanPriorSettings, train_human_prior
from beyondscene.backend.training.latents import encode_renders
from beyondscene.backend.training.renders import read_shards
from beyondscene.backend.training.tokenizer import read_tokenizers
from beyondscene.backend.training.under_way import OutOfTime, Run
from beyondscene.backend.training.vae import load_vae
from msgspec.structs import replace
from torch import nn
from transformers import ResNetConfig, ResNetModel

CPU = torch.device("cpu")
TINY = tiny_settings(Path(), Path(), CPU)
PLAN = HcpSettings(steps=4, batch=2)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny embedded model under `models`, of no use, with a role for its layers, and what it was trained on."""
    work = tmp_path_factory.mktemp("hcp")
    train_embedded(replace(TINY, work=work, out=work / "models", views=8, processes=1), lambda _: None)
    path = work / "models" / "modelset.json"
    manifest = json.loads(path.read_text())
    manifest["roles"]["hcp"] = "hcp"
    path.write_text(json.dumps(manifest))
    return work


def test_each_half_counts_most_at_its_own_noise() -> None:
    timesteps = torch.tensor([0, 499, 999])
    peaks = {half: stage_weight(half, timesteps) for half in ("down_blocks", "mid_block", "up_blocks")}
    assert [int(weights.argmax()) for weights in peaks.values()] == [2, 1, 0]
    assert all(weights.max() == pytest.approx(1, abs=1e-5) and weights.min() > -1e-6 for weights in peaks.values())


def test_maps_that_lie_where_bodies_are_lose_nothing() -> None:
    body = torch.zeros(2, 16)
    body[0, 5:9] = 1.0  # nobody in the second view
    human = torch.tensor([[1.0, 0, 1], [1, 0, 0]])
    timesteps = torch.tensor([999, 999])
    there, elsewhere = (body[:, :, None].expand(-1, -1, 3), 1 - body[:, :, None].expand(-1, -1, 3))
    name = "down_blocks.0.attn2"
    assert float(alignment_loss({name: there}, human, {16: body}, timesteps)) == pytest.approx(0, abs=1e-6)
    assert float(alignment_loss({name: elsewhere}, human, {16: body}, timesteps)) == pytest.approx(0.5)  # of two views
    unasked = torch.tensor([[0.0, 1, 0], [0, 0, 0]])
    assert float(alignment_loss({name: elsewhere}, unasked * 0, {16: body}, timesteps)) == 0
    assert float(alignment_loss({name.replace("down", "up"): elsewhere}, human, {16: body}, timesteps)) < 1e-6


def test_limbs_and_features_say_where_bodies_are(tmp_path: Path) -> None:
    poses = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    poses[:, :, 8:24, 40:48] = 200
    ResNetModel(
        ResNetConfig(embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4, layer_type="basic")
    ).save_pretrained(tmp_path)  # fmt: skip
    for reference, side in ((limbs, 8), (ResnetFeatures(tmp_path, CPU), 8), (ResnetFeatures(tmp_path, CPU), 2)):
        seen = reference(poses, side)
        assert seen.shape == (1, side * side) and (seen >= 0).all() and seen.std() > 0
    where = limbs(poses, 8).reshape(8, 8)
    assert where[1:3, 5].min() > 0.2 and where[5:].max() == 0


def test_training_attends_as_pictures_are_drawn(work: Path) -> None:
    """The explicit maps of training, and the attentions without a map in use, are the same."""
    unet = load_denoiser(work / "models", TINY.denoiser.sizes, TINY.text).unet
    torch.manual_seed(0)
    attach_hcp(unet, HcpConfig())
    for name, layer in list(cross_attention(unet).items())[:3]:
        text, human = torch.randn(77, layer.cross_attention_dim), torch.zeros(77)
        human[[2, 9]] = 1
        hidden, known = torch.randn(1, 16, layer.query_dim), Embedding(text, text[0], 1, human)
        with torch.no_grad():
            with attending(unet, 0.4, human[None]) as maps:
                trained = layer(hidden, text[None])
            with knowing_texts([unet], [known], 0.4) as project:
                project([known])
                drawn = layer(hidden, stack_hidden([known], torch.float32))
        assert maps[name].shape == (1, 16, 77) and torch.allclose(trained, drawn, atol=1e-5)


def test_layers_resume_exactly_and_nothing_else_learns(work: Path, tmp_path: Path) -> None:
    latents = encode_renders(
        load_vae(work / "models", CPU), read_shards(work / "renders", 8), work / "latents.safetensors", CPU
    )
    tokenizers, passed = read_tokenizers(work / "models"), list[nn.ModuleDict]()

    def train(folder: str, time_left_s: Callable[[], float] = lambda: 1.0) -> nn.ModuleDict:
        denoiser = load_denoiser(work / "models", TINY.denoiser.sizes, TINY.text)
        before = {name: tensor.clone() for name, tensor in denoiser.state_dict().items()}
        run = Run(tmp_path / folder, 0, CPU, lambda _: None, time_left_s)
        layers = train_hcp(run, latents, tokenizers, denoiser, PLAN, 4, limbs, passed.append)
        assert all(torch.equal(denoiser.state_dict()[name], tensor) for name, tensor in before.items())
        return layers

    def flat(layers: nn.ModuleDict) -> torch.Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in layers.parameters()])

    whole, left = flat(train("whole")), iter((1.0, -1.0))
    with pytest.raises(OutOfTime):
        train("parts", lambda: next(left))
    (half,) = passed
    parts = flat(train("parts"))
    assert (whole - parts).abs().mean() < 0.1 * (whole - flat(half)).abs().mean()


def test_the_run_writes_layers_that_the_set_loads_and_can_go_on(work: Path) -> None:
    settings = HumanPriorSettings(
        work=work,
        models=work / "models",
        device=CPU,
        views=8,
        processes=1,
        size_px=TINY.size_px,
        sizes=TINY.denoiser.sizes,
        text=TINY.text,
        hcp=PLAN,
    )
    model_set: ModelSet = read_model_set(work / "models")
    train_human_prior(settings, lambda _: None)
    assert not model_set.missing("hcp")
    assert len({path.stat().st_mode for path in model_set.role_folder("hcp").iterdir()}) == 1  # who reads one reads all
    unet = load_denoiser(work / "models", TINY.denoiser.sizes, TINY.text).unet
    load_hcp(unet, model_set.role_folder("hcp"))
    assert all(hasattr(layer, "hcp") for layer in cross_attention(unet).values())
    train_human_prior(settings, lambda _: None)  # its own layers, there by now, do not make it another run


def test_a_set_that_does_not_say_where_they_go_is_refused(
    tiny_models: ModelSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "hcp", "--models", str(tiny_models.folder), "--work", str(tmp_path)]) == 2
    assert 'does not say where its HcP layers go: add "hcp": "hcp" to the roles' in capsys.readouterr().err
