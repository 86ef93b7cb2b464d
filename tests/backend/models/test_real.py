"""The real architectures as the hub lays them out, at toy size with random weights: they load and make a picture."""

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from beyondscene.backend.models.fingerprint import fingerprint_weights
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.segmenters import grounded, load_segmenter
from beyondscene.backend.models.sets import ModelSet, ModelSetError, choose_model_set, read_model_set
from beyondscene.backend.pipeline import render
from beyondscene.protocol import RenderRequest, resized
from safetensors.torch import load_file, save_file
from torch import nn

from ...tiny_hub import REPOSITORIES, make_controlnet_union, make_sdxl_unet, save_tiny_sd15, write_manifest
from ..pipeline.test_render import Spy

CPU = torch.device("cpu")
BODY = (16.0, 16.0, 48.0, 80.0)

pytestmark = pytest.mark.usefixtures("hub_cache")


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights are sure of nothing: let the detector take the best that it has."""
    monkeypatch.setattr(grounded, "BOX_THRESHOLD", 0.0)


@pytest.fixture
def small(two_people: RenderRequest) -> RenderRequest:
    """96x64, without a level of enlargement."""
    return resized(two_people, 96, 64)


def picture(models: Models, request: RenderRequest) -> np.ndarray:
    return render(models, request, {}, Spy())[0]


def test_the_preset_sdxl_is_complete_with_what_its_commands_download() -> None:
    preset = choose_model_set("sdxl")
    names = set(fingerprint_weights(preset))
    assert "base/unet/diffusion_pytorch_model.fp16.safetensors" in names and "sam/model.safetensors" in names
    assert len(names) == 8 and not [name for name in names if "twins" in name]


@pytest.mark.usefixtures("sure")
def test_sdxl_makes_a_picture(hub_set: ModelSet, two_people: RenderRequest) -> None:
    models = load_models(hub_set, CPU, torch.float32)
    assert models.inpainting.config["in_channels"] == 9 and models.inpainting is not models.unet
    assert (models.vae.dtype, models.unet.dtype) == (torch.float32, torch.float32)
    assert models.scheduler_config["timestep_spacing"] == "leading" and models.zeros_for_empty_prompt
    image = picture(models, two_people)
    assert image.shape == (128, 192, 3) and image.std() > 1


@pytest.mark.usefixtures("sure")
@pytest.mark.parametrize("name", ["ControlNetUnionModel", "ControlNetModel"])
def test_a_controlnet_union_is_asked_for_poses(hub_set: ModelSet, tmp_path: Path, small: RenderRequest, name: str) -> None:
    union = make_controlnet_union(make_sdxl_unet()).eval()
    union.save_pretrained(tmp_path / "union")
    config = tmp_path / "union" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_class_name": name}))
    models = load_models(
        read_model_set(write_manifest(tmp_path / "with-union", REPOSITORIES | {"controlnet": str(tmp_path / "union")})),
        CPU,
        torch.float32,
    )
    numbers = torch.Generator().manual_seed(0)
    latents, pose = torch.randn(2, 4, 8, 8, generator=numbers), torch.rand(2, 3, 64, 64, generator=numbers)
    told = {
        "encoder_hidden_states": torch.randn(2, 77, 40, generator=numbers),
        "added_cond_kwargs": {"text_embeds": torch.randn(2, 24, generator=numbers), "time_ids": torch.ones(2, 6)},
        "return_dict": False,
    }
    kinds = torch.tensor([[1.0] + [0.0] * 7] * 2)  # openpose first, as in xinsir's own examples
    with torch.inference_mode():
        down, mid = union(latents, torch.tensor(500), controlnet_cond=[pose], control_type=kinds, control_type_idx=[0], **told)
        ours = models.controlnet(latents, torch.tensor(500), controlnet_cond=pose, conditioning_scale=1, **told)
    assert torch.equal(ours[1], mid) and all(torch.equal(one, other) for one, other in zip(ours[0], down, strict=True))
    posed, without = picture(models, small), msgspec.structs.replace(small.settings, controlnet_conditioning_scale=0.0)
    unposed = picture(models, msgspec.structs.replace(small, settings=without))
    assert posed.std() > 1 and (unposed != posed).any()
    models.placement.change("layers")
    assert (picture(models, small) == posed).all()


@pytest.mark.usefixtures("sure")
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_keeps_the_vae_and_the_segmenter_whole(hub_set: ModelSet, small: RenderRequest, precision: str) -> None:
    models = load_models(hub_set, CPU, getattr(torch, precision))
    assert models.unet.dtype == models.controlnet.dtype == models.text_encoders[1].dtype == getattr(torch, precision)
    assert {network.dtype for network in (models.vae, *models.segmenter.networks)} == {torch.float32}
    assert picture(models, small).std() > 1


@pytest.mark.usefixtures("sure")
def test_stable_diffusion_1_5_makes_a_picture(tmp_path: Path, two_people: RenderRequest) -> None:
    models = load_models(read_model_set(save_tiny_sd15(tmp_path / "sd15")), CPU, torch.float32)
    assert len(models.text_encoders) == 1 and not models.zeros_for_empty_prompt
    assert picture(models, two_people).std() > 1


def test_the_detector_and_sam_draw_masks_of_the_pictures_size(hub_set: ModelSet, sure: None) -> None:
    segmenter = load_models(hub_set, CPU, torch.float32).segmenter
    image = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
    masks = segmenter.segment(image, ("head", "hair"), BODY)
    assert set(masks) == {"person", "head", "hair"}
    assert {mask.shape for mask in masks.values()} == {(96, 64)} and masks["person"].dtype == bool
    assert masks["person"].any()
    assert not ((masks["hair"] | masks["head"]) & ~masks["person"]).any()


@pytest.mark.parametrize(("wanted", "searches"), [((), 1), (("hands", "upper_body"), 1), (("hair",), 2), (("head", "hair"), 3)])
def test_only_what_is_wanted_is_searched_for_and_sam_looks_once(
    hub_set: ModelSet, sure: None, wanted: tuple[str, ...], searches: int
) -> None:
    segmenter = load_segmenter(hub_set, CPU)
    assert isinstance(segmenter, grounded.GroundedSegmenter)
    looks: list[nn.Module] = []
    for network in (segmenter.detector, segmenter.sam.vision_encoder):
        network.register_forward_hook(lambda network, *_: looks.append(network))
    image = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
    assert set(segmenter.segment(image, wanted, BODY)) == {"person", *wanted} - {"hands", "upper_body"}
    assert (looks.count(segmenter.detector), looks.count(segmenter.sam.vision_encoder)) == (searches, 1)


def test_where_nobody_is_found_sam_draws_what_stands_where_the_pose_is(
    hub_set: ModelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grounded, "BOX_THRESHOLD", 1.0)
    segmenter = load_segmenter(hub_set, CPU)
    image = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
    masks = segmenter.segment(image, ("hair",), BODY)
    assert masks["person"].shape == (96, 64) and masks["person"].any() and not masks["hair"].any()


def test_a_network_saved_in_parts_is_read_and_missed_by_part(hub_set: ModelSet, tmp_path: Path) -> None:
    local = tmp_path / "base"
    shutil.copytree(hub_set.role_folder("base"), local)
    networks = load_models(hub_set, CPU, torch.float32)
    shutil.rmtree(local / "unet")
    networks.unet.save_pretrained(local / "unet", max_shard_size="100KB")
    shards = sorted((local / "unet").glob("*.safetensors"))
    assert len(shards) > 1
    parted = read_model_set(write_manifest(tmp_path / "parted", REPOSITORIES | {"base": str(local)}))
    again = load_models(parted, CPU, torch.float32)
    assert torch.equal(again.unet.conv_out.weight, networks.unet.conv_out.weight)
    assert {f"base/unet/{shard.name}" for shard in shards} <= set(again.fingerprints)
    other = hub_set.role_folder("inpainting") / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    shutil.copy(other, local / "unet" / "diffusion_pytorch_model.safetensors")
    both = load_models(parted, CPU, torch.float32)  # diffusers reads the parts, and they are fingerprinted
    assert torch.equal(both.unet.conv_out.weight, networks.unet.conv_out.weight) and both.fingerprints == again.fingerprints
    shards[0].unlink()
    with pytest.raises(ModelSetError, match=r"lacks its base model: .* has no unet/\*\.safetensors"):
        parted.check()


def test_a_base_with_nothing_but_bfloat16_is_read(hub_set: ModelSet, tmp_path: Path) -> None:
    local = tmp_path / "base"
    shutil.copytree(hub_set.role_folder("base"), local)
    for path in local.rglob("*.fp16.safetensors"):
        path.rename(path.with_name(path.name.replace("fp16", "bf16")))
    found = read_model_set(write_manifest(tmp_path / "other", REPOSITORIES | {"base": str(local)}))
    assert "base/text_encoder/model.bf16.safetensors" in load_models(found, CPU, torch.float32).fingerprints


@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model.fp16.safetensors", "text_encoder_2/model.fp16.safetensors"])
def test_weights_that_lack_tensors_are_refused(hub_set: ModelSet, tmp_path: Path, file: str) -> None:
    """Of a text encoder transformers makes up what it lacks, and every prompt is noise."""
    local = tmp_path / "base"
    shutil.copytree(hub_set.role_folder("base"), local)
    tensors = load_file(local / file)
    kept = {name: tensor for name, tensor in tensors.items() if ".1." not in name}
    save_file(kept, local / file, metadata={"format": "pt"})
    lacking = len(tensors) - len(kept)
    with pytest.raises(ModelSetError, match=rf"The weights in .* lack {lacking} of the tensors .*\.1\..*: they are not whole"):
        load_models(read_model_set(write_manifest(tmp_path / "other", REPOSITORIES | {"base": str(local)})), CPU, torch.float32)


def test_what_a_library_cannot_load_is_said_in_a_sentence(hub_set: ModelSet, tmp_path: Path) -> None:
    local = tmp_path / "base"
    shutil.copytree(hub_set.role_folder("base"), local)
    config = json.loads((local / "unet" / "config.json").read_text())
    quantised = config | {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    (local / "unet" / "config.json").write_text(json.dumps(quantised))
    other = read_model_set(write_manifest(tmp_path / "other", REPOSITORIES | {"base": str(local)}))
    with pytest.raises(ModelSetError, match=r"base/unet cannot be loaded \(.*bitsandbytes.*\): copy or fetch it anew"):
        load_models(other, CPU, torch.float32)
    (local / "unet" / "config.json").write_text(json.dumps(config))
    (local / "tokenizer_2" / "tokenizer_config.json").write_text("{")  # a download that was broken off
    with pytest.raises(ModelSetError, match=r"base/tokenizer_2 cannot be loaded \(.*\): copy or fetch it anew"):
        load_models(other, CPU, torch.float32)


def test_of_a_file_in_the_hubs_cache_that_is_named_which_the_snapshot_links_to(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetching it anew would else link to it again."""
    shutil.copytree(cache, tmp_path / "hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    link = next(tmp_path.glob("hub/models--facebook*/snapshots/*/model.safetensors"))
    blob = tmp_path / "blob"
    link.rename(blob)
    link.symlink_to(blob)
    choose_model_set("sdxl")
    blob.write_bytes(blob.read_bytes()[:-100])
    with pytest.raises(ModelSetError, match=rf"The weights in {blob} cannot be read .*: delete that file"):
        choose_model_set("sdxl")


def test_what_is_absent_from_the_hubs_cache_is_named_with_its_size_and_its_command(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partly = tmp_path / "partly"
    shutil.copytree(cache, partly)
    shutil.rmtree(partly / "models--facebook--sam-vit-huge")
    next(partly.glob("models--diffusers*/snapshots/*/unet/*.safetensors")).unlink()  # a download that was broken off
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(partly))
    with pytest.raises(ModelSetError) as refusal:
        choose_model_set("sdxl")
    sentence = str(refusal.value)
    assert "lacks its inpainting, sam models (7.7 GB)" in sentence
    assert 'hf download facebook/sam-vit-huge --include "*.json" --include "model.safetensors"  # sam, 2.6 GB' in sentence
    assert "xinsir" not in sentence and "modelset.json of your own" in sentence and "--models" in sentence


@pytest.mark.parametrize(
    ("role", "files", "sentence"),
    [
        ("base", "tokenizer_2/tokenizer.json", "has no tokenizer_2/vocab.json or tokenizer_2/tokenizer.json, "),
        ("base", "tokenizer/tokenizer_config.json", "has no tokenizer/tokenizer_config.json"),
        ("sam", "*process*.json", "has no preprocessor_config.json or processor_config.json"),
        ("segmenter", "*process*.json", "has no preprocessor_config.json or processor_config.json"),
        ("segmenter", "tokenizer.json", "has no vocab.txt or tokenizer.json: name one with its tokenizer"),
    ],
)
def test_tokenizers_and_processors_are_missed_too(
    hub_set: ModelSet, tmp_path: Path, role: str, files: str, sentence: str
) -> None:
    """Of some transformers makes up its own, which know no word."""
    local = tmp_path / role
    shutil.copytree(hub_set.role_folder(role), local)  # type: ignore[arg-type]
    for path in local.glob(files):
        path.unlink()
    with pytest.raises(ModelSetError, match=sentence):
        read_model_set(write_manifest(tmp_path / "other", REPOSITORIES | {role: str(local)})).check()


@pytest.mark.parametrize(
    ("role", "config", "sentence"),
    [
        ("controlnet", {"_class_name": "FluxControlNetModel"}, "is a FluxControlNetModel: name a ControlNetModel for OpenPose"),
        ("controlnet", {"_class_name": "ControlNetModel", "cross_attention_dim": 768}, "reads prompts of 768 channels.*has 40"),
        ("controlnet", {"_class_name": "ControlNetModel", "conditioning_channels": 1}, "sees pictures of 1 channels: name"),
        ("inpainting", {"cross_attention_dim": 40, "in_channels": 8}, "has 8 input channels"),
        ("inpainting", {"cross_attention_dim": 40, "block_out_channels": [8, 16]}, r"has block_out_channels of \[8, 16\]"),
        ("base", {"_class_name": "FluxPipeline", "transformer": ["diffusers", "F"]}, "is a FluxPipeline: name Stable Dif"),
        ("segmenter", {"model_type": "maskformer"}, r'type maskformer: name one .*grounding-dino \(with a "sam" beside it\)'),
        ("sam", {"model_type": "sam2"}, "has the model type sam2: name one of the type sam"),
    ],
)
def test_networks_of_another_kind_are_refused_before_they_are_read(
    hub_set: ModelSet, tmp_path: Path, role: str, config: dict[str, object], sentence: str
) -> None:
    local = tmp_path / role
    shutil.copytree(hub_set.role_folder(role), local)  # type: ignore[arg-type]
    if role == "base":
        shutil.rmtree(local / "unet")  # a pipeline without one is of another kind, and lacks nothing
    name = {"base": "model_index.json", "inpainting": "unet/config.json"}.get(role, "config.json")
    (local / name).write_text(json.dumps(config))
    other = read_model_set(write_manifest(tmp_path / "other", REPOSITORIES | {role: str(local)}))
    with pytest.raises(ModelSetError, match=f"The {role} model of the model set 'tiny-hub'.*{sentence}"):
        other.check()


@pytest.mark.parametrize(
    ("file", "entry", "sentence"),
    [
        ("scheduler/scheduler_config.json", {"_class_name": "EDMEulerScheduler"}, "base .* trained for the EDMEulerScheduler"),
        ("scheduler/scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "base .* for the FlowM"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow_prediction"}, "base .* predicts flow_prediction: name"),
        ("unet/config.json", {"in_channels": 9}, "base .* sees 9 channels and draws 4: name one that sees nothing but latents"),
        ("unet/config.json", {"time_cond_proj_dim": 256}, "base .* distilled to be told its guidance"),
        ("model_index.json", {"text_encoder": [None, None], "_class_name": "Refiner"}, "base .* is a Refiner: name Stable"),
        ("scheduler/scheduler_config.json", {"prediction_type": "v_prediction"}, "inpainting .* epsilon, the base v_pred"),
        ("vae/config.json", {"latents_mean": [0.1, 0.2, 0.3, 0.4]}, r"vae .* \(latents_mean\): name one that scales"),
    ],
)
def test_a_base_that_would_draw_noise_without_a_word_is_refused(
    hub_set: ModelSet, tmp_path: Path, file: str, entry: dict[str, object], sentence: str
) -> None:
    local = tmp_path / "base"
    shutil.copytree(hub_set.role_folder("base"), local)
    (local / file).write_text(json.dumps(json.loads((local / file).read_text()) | entry))
    other = read_model_set(write_manifest(tmp_path / "other", REPOSITORIES | {"base": str(local)}))
    with pytest.raises(ModelSetError, match=f"The {sentence}"):
        other.check()


def test_an_inpainting_model_that_says_it_predicts_as_the_base_does_is_taken(hub_set: ModelSet, tmp_path: Path) -> None:
    folders = {role: tmp_path / role for role in ("base", "inpainting")}
    for role, folder in folders.items():
        shutil.copytree(hub_set.role_folder(role), folder)  # type: ignore[arg-type]
        schedule = folder / "scheduler" / "scheduler_config.json"
        schedule.parent.mkdir(exist_ok=True)
        known = json.loads(schedule.read_text()) if schedule.exists() else {}
        schedule.write_text(json.dumps(known | {"prediction_type": "v_prediction"}))
    roles = REPOSITORIES | {role: str(folder) for role, folder in folders.items()}
    read_model_set(write_manifest(tmp_path / "other", roles)).check()
