"""The weights of a base may be in one file, as finetunes of Stable Diffusion are shared."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from beyondscene.backend.cli.submit import name_of
from beyondscene.backend.models.load import load_models
from beyondscene.backend.models.sets import ModelSet, ModelSetError, choose_model_set, find_model_sets, read_model_set
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from torch import nn

from ...single_file import save_single_file
from ...tiny_hub import REPOSITORIES, make_vae, save_tiny_sd15, write_manifest

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def built(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SDXL's settings, and in one file beside them the weights that the hub has."""
    folder = tmp_path_factory.mktemp("single")
    base = next(cache.glob("models--stabilityai*/snapshots/*"))
    shutil.copytree(base, folder / "base", ignore=shutil.ignore_patterns("*.safetensors"))
    pipeline = StableDiffusionXLPipeline.from_pretrained(base, variant="fp16", dtype=torch.float16)
    save_single_file(pipeline, folder / "finetune.safetensors")
    return write_manifest(folder, REPOSITORIES | {"base": "base", "checkpoint": "finetune.safetensors"})


@pytest.fixture
def single(hub_cache: None, built: Path, tmp_path: Path) -> ModelSet:
    return read_model_set(Path(shutil.copytree(built, tmp_path / "single")))


def is_same(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def change(single: ModelSet, remove: str, **add: torch.Tensor) -> None:
    """Rewrite the file without the tensors whose names match `remove`."""
    assert single.checkpoint
    kept = {name: tensor for name, tensor in load_file(single.checkpoint).items() if not re.search(remove, name)}
    save_file(kept | add, single.checkpoint)


def test_the_same_networks_come_from_one_file(hub_set: ModelSet, single: ModelSet) -> None:
    models, others = (load_models(one, CPU, torch.float32) for one in (hub_set, single))
    pairs = zip((models.unet, models.vae, *models.text_encoders), (others.unet, others.vae, *others.text_encoders), strict=True)
    for one, other in pairs:
        assert is_same(one, other) and not other.training
    assert others.scheduler_config == models.scheduler_config
    assert "base/unet/finetune.safetensors" in others.fingerprints
    halves = load_models(single, CPU, torch.bfloat16)
    assert (halves.vae.dtype, halves.unet.dtype, halves.text_encoders[1].dtype) == (torch.float32, *[torch.bfloat16] * 2)


def test_so_do_those_of_stable_diffusion_1_5_which_also_inpaint(tmp_path: Path) -> None:
    folder = save_tiny_sd15(tmp_path)
    models = load_models(read_model_set(folder), CPU, torch.float32)
    pipeline = StableDiffusionPipeline.from_pretrained(folder / "base", safety_checker=None)
    save_single_file(pipeline, folder / "finetune.safetensors")
    for path in (folder / "base").rglob("*.safetensors"):
        path.unlink()
    roles = {"controlnet": "controlnet", "inpainting": "base", "segmenter": "detector", "sam": "sam"}
    write_manifest(folder, roles | {"base": "base", "checkpoint": "finetune.safetensors"})
    others = load_models(read_model_set(folder), CPU, torch.float32)
    assert is_same(models.unet, others.unet) and is_same(models.text_encoders[0], others.text_encoders[0])
    assert others.inpainting is others.unet


def test_a_checkpoint_without_a_vae_takes_the_sets(single: ModelSet, tmp_path: Path) -> None:
    change(single, "^first_stage_model")
    with pytest.raises(ModelSetError, match=r"'finetune\.safetensors', has no VAE: name a whole checkpoint"):
        single.check()
    models = load_models(read_model_set(write_manifest(tmp_path / "vae", vae_of(single, tmp_path))), CPU, torch.float32)
    assert models.vae.config["scaling_factor"] == 0.13025


def vae_of(single: ModelSet, tmp_path: Path) -> dict[str, str]:
    vae = tmp_path / "hubs" / "vae"
    vae.parent.mkdir()
    make_vae(0.13025).save_pretrained(vae)
    places = {role: str(single.folder / single.manifest.roles[role]) for role in ("base", "checkpoint")}  # type: ignore[index]
    return REPOSITORIES | places | {"vae": str(vae)}


@pytest.mark.parametrize(
    ("remove", "add", "sentence"),
    [
        (".", ("lora_unet_down.weight", (4, 4)), "has no UNet in the layout of Stable Diffusion's authors: name a whole"),
        ("^conditioner", None, "has no text encoders: name a whole checkpoint"),
        ("^$", ("model.diffusion_model.input_blocks.0.0.weight", (8, 9, 3, 3)), "sees 9 channels: name .* no inpainting model"),
        ("attn2.to_k", ("model.diffusion_model.input_blocks.3.1.transformer_blocks.0.attn2.to_k.weight", (16, 768)),
         "reads prompts of 768 channels: name .* of the same family as the base, which has 40"),
        ("^$", ("edm_mean", (4,)), "was trained for an EDM schedule"),
        ("^$", ("v_pred", (1,)), "predicts v_prediction: name a base whose scheduler/scheduler_config.json says so"),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_for_the_base_is_refused_by_its_header(
    single: ModelSet, remove: str, add: tuple[str, tuple[int, ...]] | None, sentence: str
) -> None:
    change(single, remove, **({add[0]: torch.zeros(add[1])} if add else {}))
    with pytest.raises(ModelSetError, match=f"The checkpoint model of .*, 'finetune.safetensors', {sentence}"):
        single.check()


@pytest.mark.parametrize("part", ["conditioner.embedders.1.model.ln_final.bias", "model.diffusion_model.out.2.bias"])
def test_a_checkpoint_that_lacks_tensors_is_refused(single: ModelSet, part: str) -> None:
    change(single, part)
    with pytest.raises(ModelSetError, match=r"finetune.safetensors (lacks 1 of the tensors|cannot be loaded)"):
        load_models(single, CPU, torch.float32)


@pytest.mark.parametrize("name", ["finetune.ckpt", "gone.safetensors"])
def test_a_checkpoint_that_is_no_safetensors_file_is_refused(single: ModelSet, name: str) -> None:
    (single.folder / "finetune.ckpt").write_bytes(b"pickled")
    roles = {role: str(place) for role, place in single.manifest.roles.items()} | {"checkpoint": name}
    with pytest.raises(ModelSetError, match=rf"names the checkpoint .*{name}, which is no safetensors file: correct it"):
        read_model_set(write_manifest(single.folder, roles)).check()


def test_beside_a_checkpoint_only_the_settings_of_a_base_are_fetched(
    single: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files of SDXL's repository would be 50 GB."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    roles = REPOSITORIES | {"checkpoint": "finetune.safetensors"}
    fetch = r'models\. Where .*\n .*--include "\*.json" --include "\*.txt"  # base, 0.01 GB'
    with pytest.raises(ModelSetError, match=fetch):
        read_model_set(write_manifest(single.folder, roles)).check()


def test_a_finetune_of_sdxl_is_a_set_of_its_own_by_its_path_alone(single: ModelSet, tmp_path: Path) -> None:
    assert single.checkpoint
    file = single.checkpoint.rename(tmp_path / "my finetune v2.safetensors")
    found = choose_model_set(str(file))
    assert (found.name, found.training_resolution_px, found.missing_roles) == ("my-finetune-v2", 1024, ())
    assert found in find_model_sets([file]) and name_of(str(file)) == found.name and name_of("gone.safetensors")
    assert choose_model_set(str(found.folder)).checkpoint == file  # as a worker is told of it
    save_file({"lora_unet_down.weight": torch.zeros(4, 4)}, file)
    with pytest.raises(ModelSetError, match=rf"'{file}', has no UNet .* of the same family as the base\.$"):
        choose_model_set(str(file))
