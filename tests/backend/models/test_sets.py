"""Model sets are found, and what is incomplete says so before anything is loaded."""

import json
import shutil
from pathlib import Path

import pytest
from beyondscene.backend.models import weights
from beyondscene.backend.models.fingerprint import fingerprint_weights
from beyondscene.backend.models.sets import (
    MANIFEST,
    PRESETS,
    ModelSet,
    ModelSetError,
    choose_model_set,
    find_model_sets,
    read_model_set,
)


@pytest.fixture
def copy(tiny_models: ModelSet, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_models.folder, tmp_path / "tiny"))


def test_presets_are_found_and_the_embedded_one_is_complete() -> None:
    known = {one.name: one for one in find_model_sets()}
    assert {"embedded", "sdxl"} <= set(known)
    assert known["embedded"].missing_roles == ()
    assert known["sdxl"].training_resolution_px == 1024


def test_pixels_per_latent_are_those_of_the_vae(tmp_path: Path) -> None:
    assert {one.name: one for one in find_model_sets()}["embedded"].latent_downsampling == 8
    (tmp_path / "modelset.json").write_text(
        '{"name": "bare", "training_resolution_px": 64, "pose_line_width_px": 2, "roles": {"base": "."}}'
    )
    with pytest.raises(ModelSetError, match="The VAE of the model set 'bare' cannot be read"):
        _ = read_model_set(tmp_path).latent_downsampling


def test_a_folder_is_chosen_by_its_path(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_model_set(str(copy)).name == "tiny"
    monkeypatch.chdir(copy.parent)
    copy.rename("embedded")
    assert choose_model_set("embedded").name == "embedded"  # the name of a preset goes before a folder that is here


@pytest.mark.parametrize("role", ["controlnet", "segmenter"])
def test_a_missing_role_is_named(copy: Path, role: str) -> None:
    shutil.rmtree(copy / role)
    with pytest.raises(ModelSetError, match=f"'tiny' lacks its {role} model.*Complete the folder"):
        choose_model_set(str(copy))


def test_half_a_base_is_named(copy: Path) -> None:
    shutil.rmtree(copy / "vae")
    with pytest.raises(ModelSetError, match=r"lacks its base model: .* has no vae"):
        choose_model_set(str(copy))


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\n", b"", None])
@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model.safetensors", "segmenter/model.safetensors"])
def test_weights_that_are_not_whole_are_named(copy: Path, file: str, content: bytes | None) -> None:
    whole = (copy / file).read_bytes()
    (copy / file).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ModelSetError, match=rf"The weights in .*{file} cannot be read \(.*\): delete that file, and"):
        choose_model_set(str(copy))


def test_a_paging_file_that_is_too_small_is_no_fault_of_the_weights(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def map_file(path: Path, framework: str) -> None:
        raise OSError("The paging file is too small for this operation to complete. (os error 1455)")  # as on Windows

    monkeypatch.setattr(weights, "safe_open", map_file)
    with pytest.raises(ModelSetError, match=r"There is not enough memory to open the weights in .*: close other programs"):
        read_model_set(copy).check()


@pytest.mark.parametrize("content", [b'{"num_train_timesteps": 10', b"[]"])
@pytest.mark.parametrize("file", ["scheduler/scheduler_config.json", "unet/config.json", "model_index.json"])
def test_settings_of_a_network_that_are_no_json_are_named(copy: Path, file: str, content: bytes) -> None:
    (copy / file).write_bytes(content)
    with pytest.raises(ModelSetError, match=rf"{file} (is|holds) no JSON .*: delete it, and copy or fetch it anew"):
        choose_model_set(str(copy))


def test_two_sets_of_one_name_are_refused_and_a_folder_given_twice_is_one_set(copy: Path) -> None:
    assert len(find_model_sets([copy, copy.parent / "." / copy.name])) == len(find_model_sets()) + 1
    manifest = copy / MANIFEST
    manifest.write_text(manifest.read_text().replace('"tiny"', '"embedded"'))
    with pytest.raises(ModelSetError) as refused:
        find_model_sets([copy])
    assert str(PRESETS / "embedded") in str(refused.value) and f"the one in {copy}: change " in str(refused.value)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ModelSetError, match="no model set 'sd3': known are embedded, sdxl"):
        choose_model_set("sd3")


@pytest.mark.parametrize(
    ("place", "words"), [("weights/pose model", ""), ("D:/pose", r": .*pose has no config\.json.* Complete the folder")]
)
def test_a_mistyped_folder_is_missing_like_any_other(copy: Path, place: str, words: str) -> None:
    manifest = json.loads((copy / "modelset.json").read_text())
    manifest["roles"]["controlnet"] = place
    (copy / "modelset.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelSetError, match=f"'tiny' lacks its controlnet model{words}"):
        choose_model_set(str(copy))


def test_models_of_the_hub_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelSetError, match=r"hf download stabilityai/stable-diffusion-xl-base-1.0"):
        choose_model_set("sdxl")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "no readable modelset.json"),
        (b"{", "is not a model set's manifest"),
        (b'{"name": "x"}', "is not a model set's"),
        ('{"name": "Gemälde"}'.encode("latin-1"), "is not a model set's manifest"),
    ],
)
def test_folders_that_are_no_sets_are_refused(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "modelset.json").write_bytes(content)
    with pytest.raises(ModelSetError, match=sentence):
        read_model_set(tmp_path)


def test_an_odd_segmenter_is_refused(copy: Path) -> None:
    config = json.loads((copy / "segmenter" / "config.json").read_text())
    (copy / "segmenter" / "config.json").write_text(json.dumps(config | {"model_type": "yolos"}))
    with pytest.raises(ModelSetError, match="model type yolos"):
        choose_model_set(str(copy))


def test_a_segmenter_of_something_else_than_people_is_refused(copy: Path) -> None:
    config = json.loads((copy / "segmenter" / "config.json").read_text())
    (copy / "segmenter" / "config.json").write_text(json.dumps(config | {"id2label": {"0": "wall", "1": "building"}}))
    with pytest.raises(ModelSetError, match="calls its label 0 'wall'"):
        choose_model_set(str(copy))


def test_a_segmenter_that_finds_boxes_alone_wants_a_sam(copy: Path) -> None:
    config = json.loads((copy / "segmenter" / "config.json").read_text())
    (copy / "segmenter" / "config.json").write_text(json.dumps(config | {"model_type": "grounding-dino"}))
    with pytest.raises(ModelSetError, match=r'finds boxes alone: name a SAM .* as "sam", under "roles"'):
        choose_model_set(str(copy))


def name_a_vae(folder: Path, **config: object) -> Path:
    """The VAE of the set in `folder` becomes a role of its own."""
    shutil.move(folder / "vae", folder / "other_vae")
    for path, changed in ((folder / "modelset.json", {}), (folder / "other_vae" / "config.json", config)):
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    manifest = json.loads((folder / "modelset.json").read_text())
    manifest["roles"]["vae"] = "other_vae"
    (folder / "modelset.json").write_text(json.dumps(manifest))
    return folder


def test_a_vae_from_elsewhere_takes_the_place_of_the_bases_own(copy: Path) -> None:
    chosen = choose_model_set(str(name_a_vae(copy)))
    assert chosen.settings_folder("vae") == copy / "other_vae"
    assert chosen.latent_downsampling == 8
    assert "vae/diffusion_pytorch_model.safetensors" in fingerprint_weights(chosen)
    shutil.rmtree(copy / "other_vae")
    with pytest.raises(ModelSetError, match=r"lacks its vae model: .*other_vae has no config.json, \*.safetensors"):
        choose_model_set(str(copy))


@pytest.mark.parametrize("config", [{"_class_name": "AutoencoderTiny"}, {"latent_channels": 16}])
def test_a_vae_of_another_kind_is_refused(copy: Path, config: dict[str, object]) -> None:
    what = next(iter(config.values()))
    with pytest.raises(ModelSetError, match=rf"vae model .*'other_vae', is a .*{what}.*: name an AutoencoderKL of the 4"):
        choose_model_set(str(name_a_vae(copy, **config)))


def test_a_vae_of_another_family_is_refused(copy: Path) -> None:
    own = (copy / "vae" / "config.json").read_text()
    name_a_vae(copy, scaling_factor=0.18215)
    (copy / "vae").mkdir()
    (copy / "vae" / "config.json").write_text(own)
    with pytest.raises(ModelSetError, match=r"'other_vae', has the scaling_factor 0.18215: name one .* has 0.5"):
        choose_model_set(str(copy))


@pytest.mark.parametrize(("overflows", "dtype"), [(True, "float32"), (False, "bfloat16")])
def test_a_vae_runs_in_half_precision_where_it_says_that_it_can(copy: Path, overflows: bool, dtype: str) -> None:
    import torch
    from beyondscene.backend.models.load import load_models

    models = load_models(read_model_set(name_a_vae(copy, force_upcast=overflows)), torch.device("cpu"), torch.bfloat16)
    assert models.vae.dtype == getattr(torch, dtype)
    assert models.unet.dtype == torch.bfloat16
