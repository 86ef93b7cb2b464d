"""The weights of a base may be in one file, as finetunes of Stable Diffusion are shared."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from beyondscene.backend.cli.submit import name_of
from beyondscene.backend.models.fingerprint import stamp_files
from beyondscene.backend.models.load import load_models
from beyondscene.backend.models.sets import (
    ModelSet,
    ModelSetError,
    choose_model_set,
    find_model_sets,
    read_model_set,
    sdxl_with,
)
from diffusers import ControlNetUnionModel, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from torch import nn

from ...single_file import controlnet_tensors, save_single_file, unet_tensors, vae_tensors
from ...tiny_hub import (
    REPOSITORIES,
    make_controlnet,
    make_controlnet_union,
    make_sd15_unet,
    make_sdxl_unet,
    make_vae,
    save_tiny_sd15,
    write_manifest,
)

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
        ("^conditioner.embedders.1", None, "has no second text encoder: name a whole checkpoint"),
        ("^$", ("scaled_fp8", (0,)), "is in float8 with scales of its own: name the same in float16"),
        ("^$", ("ztsnr", (1,)), "begins at pure noise: name a base whose scheduler/scheduler_config.json has rescale"),
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
    with pytest.raises(ModelSetError, match=r"finetune.safetensors (lacks (1 of the )?tensors|cannot be loaded)"):
        load_models(single, CPU, torch.float32)


@pytest.mark.parametrize("name", ["finetune.ckpt", "gone.safetensors"])
def test_a_checkpoint_that_is_no_safetensors_file_is_refused(single: ModelSet, name: str) -> None:
    (single.folder / "finetune.ckpt").write_bytes(b"pickled")
    roles = {role: str(place) for role, place in single.manifest.roles.items()} | {"checkpoint": name}
    with pytest.raises(ModelSetError, match=rf"names the checkpoint .*{name}, where no \.safetensors file is: correct it"):
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
    assert sdxl_with(tmp_path / f"{'v' * 200}.safetensors").name == "v" * 64  # no client reads a longer one
    save_file({"lora_unet_down.weight": torch.zeros(4, 4)}, file)
    with pytest.raises(ModelSetError, match=rf"'{file}', has no UNet .* of the same family as the base\.$"):
        choose_model_set(str(file))


@pytest.mark.parametrize("role", ["controlnet", "union", "vae", "inpainting"])
def test_other_networks_of_sdxl_come_from_one_file_too(hub_set: ModelSet, tmp_path: Path, role: str) -> None:
    """A VAE alone is shared in the layout of the authors, a ControlNet in that of diffusers, an inpainting model as a whole."""
    network: dict[str, nn.Module] = {
        "controlnet": make_controlnet(make_sdxl_unet()),
        "union": make_controlnet_union(make_sdxl_unet()),
        "vae": make_vae(0.13025),
        "inpainting": make_sdxl_unet(9),
    }
    written = network[role].state_dict()
    if role == "vae":
        written = vae_tensors(written)
    if role == "inpainting":
        inner = unet_tensors(network[role])  # type: ignore[arg-type]
        written = {f"model.diffusion_model.{name}": tensor for name, tensor in inner.items()} | {"other": torch.zeros(1)}
    (tmp_path / "files").mkdir()
    save_file({name: tensor.clone() for name, tensor in written.items()}, tmp_path / "files" / "mine.safetensors")
    place = role if role != "union" else "controlnet"
    models = load_models(
        read_model_set(write_manifest(tmp_path, REPOSITORIES | {place: "files/mine.safetensors"})), CPU, torch.float32
    )
    loaded = getattr(models, place)
    assert is_same(loaded, network[role]) and not loaded.training and loaded.dtype == torch.float32
    assert any(name.startswith(f"{place}/") and name.endswith("mine.safetensors") for name in models.fingerprints)
    assert isinstance(models.controlnet, ControlNetUnionModel) == (role == "union")
    assert models.vae.config["scaling_factor"] == 0.13025 and models.inpainting.config["in_channels"] == 9
    assert stamp_files(models.model_set)


def test_a_controlnet_of_stable_diffusion_1_5_comes_in_the_authors_file(tmp_path: Path) -> None:
    folder, controlnet = save_tiny_sd15(tmp_path), make_controlnet(make_sd15_unet())
    save_file(controlnet_tensors(controlnet), folder / "pose.safetensors")
    roles = {"base": "base", "inpainting": "inpainting", "segmenter": "detector", "sam": "sam"}
    models = load_models(read_model_set(write_manifest(folder, roles | {"controlnet": "pose.safetensors"})), CPU, torch.float32)
    assert is_same(models.controlnet, controlnet)


INPAINTING = {"model.diffusion_model.input_blocks.0.0.weight": (8, 9, 3, 3), "a.attn2.to_k.weight": (8, 40)}


@pytest.mark.parametrize(
    ("role", "tensors", "sentence"),
    [
        ("controlnet", {}, "has no whole ControlNet: name a file with one, or a folder,"),
        ("controlnet", {"lora_controlnet": (1,), "input_hint_block.0.weight": (16, 3, 3, 3), "a.attn2.to_k.weight": (8, 40)},
         "has no whole ControlNet"),
        ("controlnet", {"input_hint_block.0.weight": (16, 3, 3, 3), "a.attn2.to_k.weight": (8, 768)},
         "reads prompts of 768 channels: name one for the same family"),
        ("controlnet", {"input_hint_block.0.weight": (16, 1, 3, 3), "a.attn2.to_k.weight": (8, 40)}, "sees pictures of 1 ch"),
        ("vae", {"decoder.conv_in.weight": (8, 16, 3, 3)}, "is a AutoencoderKL of 16 channels"),
        ("vae", {"1.weight": (8, 4, 3, 3)}, "has no VAE: name"),
        ("inpainting", {"model.diffusion_model.input_blocks.0.0.weight": (8, 5, 3, 3), "a.attn2.to_k.weight": (8, 40)},
         "has 5 input channels: name one with 4 or 9"),
        ("inpainting", INPAINTING | {"scaled_fp8": (0,)}, "is in float8 with scales of its own: name the same in float16"),
        ("inpainting", INPAINTING | {"v_pred": (1,)}, "predicts v_prediction, the base epsilon: name one that"),
        ("inpainting", {"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "conv_in.weight": (8, 4, 3, 3),
         "a.attn2.to_k.weight": (8, 40)}, "has no whole UNet"),
        ("vae", {"decoder.conv_in.weight": (8,)}, "has no VAE: name"),
    ],
)  # fmt: skip
def test_a_file_with_another_network_is_refused_by_its_header(
    hub_set: ModelSet, tmp_path: Path, role: str, tensors: dict[str, tuple[int, ...]], sentence: str
) -> None:
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, tmp_path / "mine.safetensors")
    with pytest.raises(ModelSetError, match=f"The {role} model of .*, 'mine.safetensors', {sentence}"):
        read_model_set(write_manifest(tmp_path, REPOSITORIES | {role: "mine.safetensors"})).check()


def test_a_file_that_lacks_tensors_of_a_union_or_is_not_there_is_refused(hub_set: ModelSet, tmp_path: Path) -> None:
    found = read_model_set(write_manifest(tmp_path, REPOSITORIES | {"controlnet": "files/mine.safetensors"}))
    with pytest.raises(ModelSetError, match=r"names the controlnet .*mine\.safetensors, where no \.safetensors file is: "):
        found.check()
    (tmp_path / "mine.pth").write_bytes(b"pickled")
    with pytest.raises(ModelSetError, match=r"names the controlnet .*mine\.pth, where no \.safetensors file is: correct"):
        read_model_set(write_manifest(tmp_path, REPOSITORIES | {"controlnet": "mine.pth"})).check()
    make_controlnet(make_sdxl_unet()).save_pretrained(tmp_path / "folder.safetensors")
    read_model_set(write_manifest(tmp_path, REPOSITORIES | {"controlnet": "folder.safetensors"})).check()
    tensors = make_controlnet_union(make_sdxl_unet()).state_dict()
    del tensors["control_add_embedding.linear_1.bias"]
    (tmp_path / "files").mkdir()
    save_file(tensors, tmp_path / "files" / "mine.safetensors")
    with pytest.raises(ModelSetError, match=r"lacks 1 of the tensors that the config\.json in .*unet asks for"):
        load_models(found, CPU, torch.float32)
    decoder = {name: tensor for name, tensor in make_vae(0.13025).state_dict().items() if not name.startswith("encoder")}
    save_file(decoder, tmp_path / "vae.safetensors")
    with pytest.raises(ModelSetError, match=r"vae\.safetensors lacks tensors that the config\.json in .*vae asks for"):
        load_models(read_model_set(write_manifest(tmp_path, REPOSITORIES | {"vae": "vae.safetensors"})), CPU, torch.float32)
