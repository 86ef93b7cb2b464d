"""LoRAs: found by name, active where they should be, and taken off without a trace."""

import json
import logging
import os
import pickle
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from beyondscene.backend.models.adapters import take_off
from beyondscene.backend.models.extras import gather_extras
from beyondscene.backend.models.load import Models, load_models
from beyondscene.backend.models.loras import LoraScales, find_lora, find_loras, known_loras, lora_folders, merge_loras
from beyondscene.backend.models.manifest import Manifest
from beyondscene.backend.models.sets import ModelSet, ModelSetError, read_model_set
from beyondscene.backend.outputs import read_record, restore_request
from beyondscene.backend.pipeline import render
from beyondscene.backend.pipeline.conditions import describe_views
from beyondscene.backend.planning.people import Figure, gather_people
from beyondscene.backend.planning.plan import Size
from beyondscene.backend.render import Renderer
from beyondscene.protocol import Lora, RenderRequest, RenderSettings, RequestError, check_request, resized
from diffusers import StableDiffusionXLPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from msgspec.structs import replace
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import conv2d

from ...tiny import save_tiny_model_set
from ..pipeline.test_render import Spy

CLAY, SILK = Lora(name="clay"), Lora(name="silk v1.0", scale=0.5)


def save_lora(models: Models, folder: Path, name: str, *, text: bool = False) -> None:
    """Random low-rank weights for `models`, written by diffusers' own function; the models are left as they were."""
    torch.manual_seed(zlib.crc32(name.encode()))  # whatever was drawn before
    layers: dict[str, dict[str, torch.Tensor]] = {}
    networks: dict[str, tuple[nn.Module, list[str]]] = {"unet": (models.unet, ["to_q", "to_v"])}
    if text:
        networks["text_encoder"] = (models.text_encoders[0], ["q_proj", "v_proj"])
        networks["text_encoder_2"] = (models.text_encoders[1], ["q_proj", "v_proj"])
    for part, (network, targets) in networks.items():
        inject_adapter_in_model(LoraConfig(r=2, lora_alpha=4, target_modules=targets, init_lora_weights=False), network)
        state = get_peft_model_state_dict(network, adapter_name="default")
        layers[part] = state if part == "unet" else convert_state_dict_to_diffusers(state)
        take_off(network)
    StableDiffusionXLPipeline.save_lora_weights(
        folder, layers["unet"], layers.get("text_encoder"), layers.get("text_encoder_2"), weight_name=f"{name}.safetensors"  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture(scope="module")
def models(tiny_models: ModelSet) -> Models:
    torch.manual_seed(1)
    return load_models(tiny_models, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def folder(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loras")
    save_lora(models, folder, CLAY.name)
    save_lora(models, folder, SILK.name, text=True)
    return folder


@pytest.fixture
def small(two_people: RenderRequest) -> RenderRequest:
    """96x64, without a level of enlargement, two steps."""
    return replace(resized(two_people, 96, 64), settings=RenderSettings(steps=2))


def picture(models: Models, request: RenderRequest, folder: Path) -> np.ndarray:
    with models.adapters.loaded(find_loras(request, [folder])):
        return render(models, request, {}, Spy())[0]


def test_a_scenes_lora_changes_the_picture_and_comes_off(models: Models, small: RenderRequest, folder: Path) -> None:
    layers = list(models.unet.named_modules())
    texts = list(models.text_encoders[0].named_modules())
    plain = picture(models, small, folder)
    with_clay = picture(models, replace(small, loras=(CLAY,)), folder)
    with_both = picture(models, replace(small, loras=(CLAY, SILK)), folder)
    assert (plain != with_clay).any() and (with_clay != with_both).any()
    assert list(models.unet.named_modules()) == layers and list(models.text_encoders[0].named_modules()) == texts
    assert not hasattr(models.unet, "peft_config")
    assert (picture(models, small, folder) == plain).all()


def test_a_scale_of_0_is_none_and_scales_count(models: Models, small: RenderRequest, folder: Path) -> None:
    people = small.characters[:1]
    pictures = [
        picture(models, replace(small, characters=people, loras=(replace(SILK, scale=scale),)), folder) for scale in (0, 0.5, 1)
    ]
    none = picture(models, replace(small, characters=people), folder)
    assert (pictures[0] == none).all()
    assert (pictures[1] != none).any() and (pictures[1] != pictures[2]).any()


def test_a_characters_lora_is_worn_by_them_alone(models: Models, small: RenderRequest, folder: Path) -> None:
    ana, bo = small.characters
    request = replace(small, loras=(CLAY,), characters=(replace(ana, loras=(SILK, replace(CLAY, scale=0))), bo))
    request = replace(request, width=192, height=128)
    masks = np.zeros((2, 128, 192), bool)
    masks[0, :, :64], masks[1, :, 128:] = True, True
    figures = [Figure(person, mask, {}) for person, mask in zip(gather_people(request), masks, strict=True)]
    views = [(0, 0), (0, 16), (4, 8)]
    left, right, middle = (c.loras for c in describe_views(request, figures, Size(192, 128), views, 64, 8, 2))
    assert left == ((SILK.name, 0.5),) and right == middle == (("clay", 1.0),)
    together = [Figure(figure.person, masks.any(0), {}) for figure in figures]
    (both,) = describe_views(request, together, Size(192, 128), [(0, 0)], 64, 8, 2)
    assert both.loras == (("clay", 1.0),)
    plain = picture(models, replace(small, loras=(CLAY,)), folder)
    worn: list[LoraScales] = []
    hook = models.unet.register_forward_pre_hook(lambda *_: worn.append(models.adapters.active))
    try:
        changed = picture(models, replace(small, loras=(CLAY,), characters=request.characters), folder)
    finally:
        hook.remove()
    assert (plain != changed).any()
    assert worn[:4] == 2 * [(("clay", 1.0),), ((SILK.name, 0.5),)]  # Bo and Ana, in each of two steps


def test_names_merge_and_scales_of_the_character_count() -> None:
    assert merge_loras((CLAY, SILK), (Lora(name="clay", scale=-0.5),)) == (("clay", -0.5), (SILK.name, 0.5))


def test_a_lora_in_another_trainers_format_is_read(models: Models, small: RenderRequest, tmp_path: Path) -> None:
    """As kohya's scripts write them, for one layer of the UNet."""
    name = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    layer = models.unet.get_submodule("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q")
    rank, (out, into) = 2, layer.weight.shape  # type: ignore[misc]
    random = torch.Generator().manual_seed(0)
    save_file(
        {
            f"{name}.lora_down.weight": torch.randn(rank, int(into), generator=random),
            f"{name}.lora_up.weight": torch.randn(int(out), rank, generator=random),
            f"{name}.alpha": torch.tensor(2.0),
        },
        tmp_path / "kohya.safetensors",
    )
    request = replace(small, characters=())
    plain = picture(models, request, tmp_path)
    assert (picture(models, replace(request, loras=(Lora(name="kohya", scale=4),)), tmp_path) != plain).any()


@pytest.mark.parametrize("lacking", [(), range(1, 7), (1, 3)])
def test_layers_whose_alphas_differ_are_each_worn_at_their_own(models: Models, tmp_path: Path, lacking: Sequence[int]) -> None:
    """As kohya's scripts write them, ranks cut layer by layer: in the UNet's attention and in a text encoder's.

    lacking: without an alpha, which is as good as one that is the layer's rank.
    """
    encoder = next(network for name, network in models.text_encoders[0].named_modules() if name.endswith("encoder"))
    places = [("lora_unet_", models.unet, f"down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_{one}") for one in "qkv"]
    places += [("lora_te1_text_model_encoder_", encoder, f"layers.0.self_attn.{one}_proj") for one in ("q", "k", "v", "out")]
    random, tensors, changes = torch.Generator().manual_seed(0), {}, []
    for number, (prefix, network, path) in enumerate(places):
        name, (out, into) = prefix + path.replace(".", "_"), network.get_submodule(path).weight.shape  # type: ignore[misc]
        rank, alpha = 2 + number % 2, 0.5 + number
        down, up = torch.randn(rank, int(into), generator=random), torch.randn(int(out), rank, generator=random)
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        tensors |= {} if number in lacking else {f"{name}.alpha": torch.tensor(alpha)}
        changes.append(up @ down * (1 if number in lacking else alpha / rank))
    save_file(tensors, tmp_path / "cut.safetensors")
    inputs = [torch.randn(1, change.shape[1], generator=random) for change in changes]
    with torch.no_grad():
        plain = [network.get_submodule(path)(given) for (_, network, path), given in zip(places, inputs, strict=True)]
        with models.adapters.loaded({"cut": tmp_path / "cut.safetensors"}):
            models.adapters.activate((("cut", 1.0),))
            changed = [network.get_submodule(path)(given) for (_, network, path), given in zip(places, inputs, strict=True)]
    for before, after, given, change in zip(plain, changed, inputs, changes, strict=True):
        assert torch.allclose(after - before, given @ change.T, atol=1e-4)


def test_a_dora_is_worn_with_its_magnitudes_or_refused(models: Models, small: RenderRequest, tmp_path: Path) -> None:
    """As peft writes them, and as kohya's scripts do, whose magnitudes diffusers would leave out."""
    path = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    layer = models.unet.get_submodule(path)
    weight, random = cast(torch.Tensor, layer.weight).detach(), torch.Generator().manual_seed(0)
    down, up = torch.randn(2, weight.shape[1], generator=random), torch.randn(weight.shape[0], 2, generator=random)
    magnitude, turned = torch.rand(weight.shape[0], generator=random), weight + up @ down
    peft = {"lora_A.weight": down, "lora_B.weight": up, "lora_magnitude_vector": magnitude}
    save_file({f"unet.{path}.{name}": tensor for name, tensor in peft.items()}, tmp_path / "peft.safetensors")
    kohya = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(2.0), "dora_scale": magnitude[:, None]}
    name = f"lora_unet_{path.replace('.', '_')}"
    (tmp_path / "loras").mkdir()
    save_file({f"{name}.{end}": tensor for end, tensor in kohya.items()}, tmp_path / "loras" / "kohya.safetensors")
    wanted = magnitude[:, None] * turned / turned.norm(dim=1, keepdim=True)
    given = torch.randn(1, weight.shape[1], generator=random)
    with torch.no_grad(), models.adapters.loaded({"peft": tmp_path / "peft.safetensors"}):
        models.adapters.activate((("peft", 1.0),))
        assert torch.allclose(models.unet.get_submodule(path)(given), given @ wanted.T, atol=1e-4)
    with pytest.raises(ModelSetError, match=r"'kohya' is a DoRA of kohya's format .*: convert it to the format of peft"):
        gather_extras(replace(small, loras=(Lora(name="kohya"),)), replace(models.model_set, folder=tmp_path))


@pytest.mark.parametrize(
    ("tensor", "sentence"),
    [
        (
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight",
            "was trained for prompts of 768 channels",
        ),
        ("unet.mid_block.transformer_blocks.0.attn2.to_v.lora_A.weight", "'other' was trained for prompts of 768 channels"),
        ("unet.mid_block.transformer_blocks.0.attn2.processor.to_k_lora.down.weight", "for prompts of 768 channels"),
        ("clip_g", r"No tensor in .*other\.safetensors is a LoRA's, by their names: choose another one than 'other'"),
    ],
)
def test_one_of_another_family_is_known_by_its_header(
    tiny_models: ModelSet, small: RenderRequest, tmp_path: Path, tensor: str, sentence: str
) -> None:
    (tmp_path / "loras").mkdir()
    save_file({tensor: torch.zeros(2, 768)}, tmp_path / "loras" / "other.safetensors")
    request = replace(small, loras=(Lora(name="other"),))
    with pytest.raises(ModelSetError, match=sentence):
        gather_extras(request, replace(tiny_models, folder=tmp_path, manifest=at_home(tiny_models)))


def at_home(models: ModelSet) -> Manifest:
    """The manifest of `models`, whose networks stay where they are when its folder is another."""
    return replace(models.manifest, roles={role: str(models.role_folder(role)) for role in models.manifest.roles})


def test_those_of_a_checkpoint_are_beside_it(tmp_path: Path) -> None:
    (tmp_path / "finetune.safetensors").touch()
    assert lora_folders(tmp_path / "finetune.safetensors")[0] == lora_folders(tmp_path)[0] == tmp_path / "loras"


@pytest.mark.parametrize("end", ["hada_w1_a", "lokr_w2", "lora_mid.weight", "diff", "w_norm"])
def test_another_kind_of_lycoris_is_named_by_its_header(
    tiny_models: ModelSet, small: RenderRequest, tmp_path: Path, end: str
) -> None:
    (tmp_path / "loras").mkdir()
    halves = {f"lora_unet_mid_block.{half}": torch.zeros(2, 2) for half in ("lora_down.weight", "lora_up.weight", end)}
    save_file(halves, tmp_path / "loras" / "other.safetensors")
    with pytest.raises(ModelSetError, match=rf"'other' is another kind of LyCORIS, such as LoHa or LoKr \(.* called {end}\)"):
        gather_extras(replace(small, loras=(Lora(name="other"),)), replace(tiny_models, folder=tmp_path))


def test_a_first_layer_is_worn_by_an_inpainting_unet_of_nine_channels_too(tmp_path: Path) -> None:
    """In the format of peft, and as kohya's scripts write it."""
    save_tiny_model_set(tmp_path, inpainting_channels=9)
    models, random = load_models(read_model_set(tmp_path), torch.device("cpu"), torch.float32), torch.Generator().manual_seed(0)
    down, up = torch.randn(2, 4, 3, 3, generator=random), torch.randn(16, 2, 1, 1, generator=random)
    given = torch.randn(1, 9, 8, 8, generator=random)
    first_layers = (models.unet.conv_in, given[:, :4]), (models.inpainting.conv_in, given)
    for names in (("unet.conv_in.lora_A", "unet.conv_in.lora_B"), ("lora_unet_conv_in.lora_down", "lora_unet_conv_in.lora_up")):
        tensors = {f"{name}.weight": tensor for name, tensor in zip(names, (down, up), strict=True)}
        save_file(tensors, tmp_path / "first.safetensors")
        with torch.no_grad(), models.adapters.loaded({"first": tmp_path / "first.safetensors"}):
            models.adapters.activate((("first", 1.0),))
            changes = [
                unet.conv_in(seen) - layer(seen)
                for unet, (layer, seen) in zip((models.unet, models.inpainting), first_layers, strict=True)
            ]
        for change in changes:
            assert torch.allclose(change, conv2d(conv2d(given[:, :4], down, padding=1), up), atol=1e-4)


class Canary:
    """Writes a file when somebody unpickles it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (self.path, "w")


def test_what_is_no_lora_for_these_models_is_refused_and_leaves_nothing(
    models: Models, small: RenderRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    save_file({"somewhere.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"no tensors")
    canary = tmp_path / "canary"
    (tmp_path / "pickled.safetensors").write_bytes(pickle.dumps(Canary(str(canary)), 2))
    header = 100 * 2**20  # bytes that it claims to have
    (tmp_path / "bomb.safetensors").write_bytes(header.to_bytes(8, "little") + b"{}")
    twice = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}  # two tensors in one place, one of them too large for it
    lie = json.dumps({"a": twice | {"shape": [2]}, "b": twice})
    (tmp_path / "lie.safetensors").write_bytes(len(lie).to_bytes(8, "little") + lie.encode() + bytes(4))
    wrong = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora"
    save_file({f"{wrong}_A.weight": torch.zeros(2, 7), f"{wrong}_B.weight": torch.zeros(7, 2)}, tmp_path / "wide.safetensors")
    layer = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_"
    loha = {f"{layer}{one}.hada_w{n % 2}_{n // 2}": torch.zeros(2, 2) for one in "qkv" for n in range(99)}
    save_file(loha, tmp_path / "loha.safetensors")
    weight: Any = models.unet.get_submodule(wrong.removeprefix("unet.").removesuffix(".lora")).weight
    halves = {
        f"{layer}q.lora_down.weight": torch.zeros(2, len(weight.T)),
        f"{layer}q.lora_up.weight": torch.zeros(len(weight), 2),
    }
    lacking = {name.replace("down_blocks_1", "down_blocks_7"): half.clone() for name, half in halves.items()}
    save_file(halves | lacking, tmp_path / "partly.safetensors")
    shapes = {f"{wrong[:-6]}{to}.lora_{half}.weight": weight.shape[:: 1 - 2 * (half == "B")] for to in "qk" for half in "AB"}
    for half in "AB":  # of one layer of two only the other half
        tensors = {name: torch.zeros(shape) for name, shape in shapes.items() if name != f"{wrong}_{half}.weight"}
        save_file(tensors, tmp_path / f"no_{half}.safetensors")
    layers = list(models.unet.named_modules())
    for name, sentence in (
        ("partly", r"does not fit.* \(1 of its 2 layers are in none of these networks"),
        ("no_A", "does not fit.*one half is missing"), ("no_B", "does not fit.*one half is missing"),
        ("other", "holds nothing for"), ("torn", "does not fit"), ("wide", "does not fit"), ("pickled", "does not fit"),
        ("bomb", "does not fit"), ("lie", "does not fit"), ("loha", "does not fit"),
    ):  # fmt: skip
        with pytest.raises(ModelSetError, match=f"The LoRA '{name}' {sentence}") as refused:
            picture(models, replace(small, loras=(Lora(name=name),)), tmp_path)
        assert len(str(refused.value)) < 800 and "\n" not in str(refused.value)
        assert list(models.unet.named_modules()) == layers
    assert not canary.exists() and not caplog.records  # the sentence is all that is said


@pytest.mark.parametrize("content", [b"no tensors", b"version https://git-lfs.github.com/spec/v1", None])
def test_a_file_that_is_not_whole_is_named_before_anything_is_loaded(
    tiny_models: ModelSet, folder: Path, small: RenderRequest, tmp_path: Path, content: bytes | None
) -> None:
    (tmp_path / "loras").mkdir()
    half = (folder / "clay.safetensors").read_bytes()[:200]
    (tmp_path / "loras" / "torn.safetensors").write_bytes(half if content is None else content)
    with pytest.raises(ModelSetError, match=r"The weights in .*torn\.safetensors cannot be read \(.*\): delete that file"):
        gather_extras(replace(small, loras=(Lora(name="torn"),)), replace(tiny_models, folder=tmp_path))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_memory_that_runs_out_while_one_is_read_says_nothing_of_the_lora(
    models: Models, folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def run_out(*_: object, **__: object) -> None:
        raise error("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr("beyondscene.backend.models.adapters.StableDiffusionXLLoraLoaderMixin.lora_state_dict", run_out)
    with pytest.raises(error, match="out of memory"), models.adapters.loaded({"clay": folder / "clay.safetensors"}):
        raise AssertionError


def test_names_are_labels_and_absent_ones_are_refused(small: RenderRequest, folder: Path) -> None:
    import msgspec

    for name in ("../clay", "/etc/passwd", "a/b", "..", "", "a\\b"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"name": name}, Lora)
    dead = folder / "wool.safetensors"  # a link, as into a disk that is not there now
    dead.symlink_to(folder / "nowhere.safetensors")
    with pytest.raises(ModelSetError, match=r"no LoRA 'wool': known are clay, silk v1\.0; put wool\.safetensors into"):
        find_loras(replace(small, loras=(Lora(name="wool"),)), [folder])
    dead.unlink()
    with pytest.raises(RequestError, match="The scene names the LoRA 'clay' twice"):
        check_request(replace(small, loras=(CLAY, CLAY)))
    ana, *others = small.characters
    with pytest.raises(RequestError, match=f"'{ana.name}' names the LoRA 'clay' twice"):
        check_request(replace(small, characters=(replace(ana, loras=(CLAY, CLAY)), *others)))


def test_the_record_names_and_fingerprints_them(
    tiny_models: ModelSet, small: RenderRequest, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beyondscene.backend.models.loras.user_data_path", lambda _: folder.parent)
    folder.rename(folder.parent / "loras")
    try:
        renderer = Renderer("cpu")
        request = replace(small, characters=(), loras=(CLAY,))
        renderer(request, {}, str(tiny_models.folder), tmp_path / "out.png", Spy())
    finally:
        (folder.parent / "loras").rename(folder)
    record = read_record(tmp_path / "out.png")
    assert len(record.weights["loras/clay.safetensors"]) == 64
    assert restore_request(record)[0].loras == (CLAY,)


def test_those_in_folders_below_are_found_where_one_name_is_one_file(tmp_path: Path) -> None:
    """As other programs keep them, whose folder may be linked here."""
    for path in ("theirs/sdxl/clay.safetensors", "theirs/sdxl/styles/silk.safetensors", "theirs/sd15/silk.safetensors"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "loras").symlink_to(tmp_path / "theirs")
    folders = [tmp_path / "none", tmp_path / "loras"]
    assert known_loras(folders) == ("clay", "silk")
    assert find_lora("clay", folders) == tmp_path / "loras" / "sdxl" / "clay.safetensors"
    sentence = r"loras has sd15.silk\.safetensors and sdxl.styles.silk\.safetensors, so 'silk' may be any of these: rename"
    with pytest.raises(ModelSetError, match=sentence):
        find_lora("silk", folders)
    (tmp_path / "loras" / "silk.safetensors").touch()  # which no search is needed for
    assert find_lora("silk", folders) == tmp_path / "loras" / "silk.safetensors"


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="there are no such users here")
def test_a_folder_that_may_not_be_read_has_none(tmp_path: Path, small: RenderRequest) -> None:
    """As the home of a service is hidden from it."""
    folder = tmp_path / "loras"
    folder.mkdir(mode=0)
    me = os.geteuid()
    if me == 0:  # who may read everything
        os.seteuid(65534)
    try:
        assert known_loras([folder]) == ()
        with pytest.raises(ModelSetError, match="no LoRA 'wool'"):
            find_loras(replace(small, loras=(Lora(name="wool"),)), [folder])
    finally:
        os.seteuid(me)
