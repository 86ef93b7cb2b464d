"""Embeddings that prompts name: read as diffusers reads them, never divided, and refused by their header if they do not fit."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from beyondscene.backend.models.extras import gather_extras
from beyondscene.backend.models.load import Models
from beyondscene.backend.models.sets import ModelSet, ModelSetError
from beyondscene.backend.models.textual_inversions import embeddings_of
from beyondscene.backend.outputs import read_record
from beyondscene.backend.pipeline import render
from beyondscene.backend.pipeline.prompts import Embedding, PromptEncoder
from beyondscene.backend.render import Renderer
from beyondscene.backend.watch import Headway
from beyondscene.protocol import RenderRequest, RenderSettings, resized
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from msgspec.structs import replace
from safetensors.torch import save_file
from torch import Tensor

from ..models.test_loras import at_home
from .reference import of_diffusers
from .test_render import Spy


def widths(models: Models) -> list[int]:
    return [encoder.config.hidden_size for encoder in models.text_encoders]


def random_vectors(models: Models, count: int, seed: int = 0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(count, width, generator=random) for width in widths(models)]


def save_for_two(path: Path, vectors: list[Tensor], names: tuple[str, str] = ("clip_l", "clip_g")) -> None:
    path.parent.mkdir(exist_ok=True)
    save_file(dict(zip(names, vectors, strict=True)), path)


def encode(models: Models, text: str, **files: Path) -> Embedding:
    with models.adapters.loaded({f"embedding:{name}": path for name, path in files.items()}):
        return PromptEncoder(models).encode(text)


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_two_encoders_are_told_what_diffusers_tells_them(sdxl: Models, tmp_path: Path) -> None:
    path, vectors = tmp_path / "ink.safetensors", random_vectors(sdxl, 3)
    save_for_two(path, vectors)
    plain = encode(sdxl, "a city, ink, a plaza")
    told = encode(sdxl, "a city, embedding:ink, a plaza", ink=path)
    pipeline = of_diffusers(StableDiffusionXLPipeline, sdxl)
    pipeline.load_textual_inversion(vectors[0], "<ink>", pipeline.tokenizer, pipeline.text_encoder)
    pipeline.load_textual_inversion(vectors[1], "<ink>", pipeline.tokenizer_2, pipeline.text_encoder_2)
    hidden, _, pooled, _ = pipeline.encode_prompt("a city, <ink>, a plaza")
    close(told.hidden, hidden[0])
    close(told.pooled, pooled[0])
    assert not torch.allclose(told.hidden, plain.hidden, atol=0.1)
    scripted = tmp_path / "scripted.safetensors"
    save_for_two(scripted, vectors, ("text_encoders_0", "text_encoders_1"))
    assert torch.equal(encode(sdxl, "a city, embedding:ink, a plaza", ink=scripted).hidden, told.hidden)
    assert torch.equal(encode(sdxl, "a city, ink, a plaza").hidden, plain.hidden)
    assert not sdxl.adapters.words.ids  # nothing stays


@pytest.mark.parametrize("name", ["emb_params", "<ink>"])
def test_one_encoder_is_told_what_diffusers_tells_it(sd15: Models, tmp_path: Path, name: str) -> None:
    """As the web UI's files call the vectors, and as those of diffusers; one alone may have one dimension."""
    (vectors,) = random_vectors(sd15, 1)
    save_file({name: vectors[0] if name == "<ink>" else vectors}, tmp_path / "ink.safetensors")
    told = encode(sd15, "a city, embedding:ink", ink=tmp_path / "ink.safetensors")
    pipeline = of_diffusers(StableDiffusionPipeline, sd15, "euler")
    pipeline.load_textual_inversion(vectors, "<ink>")
    hidden, _ = pipeline.encode_prompt("a city, <ink>", torch.device("cpu"), 1, do_classifier_free_guidance=False)
    close(told.hidden, hidden[0])


def test_several_count_as_much_as_they_are_said_to_and_are_never_divided(sdxl: Models, tmp_path: Path) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two-v1.2.safetensors"
    save_for_two(one, random_vectors(sdxl, 40))
    save_for_two(two, random_vectors(sdxl, 40, seed=1))
    files = {"one": one, "two-v1.2": two}
    ones, twos = (encode(sdxl, f"embedding:{name}", **files).hidden for name in files)
    both = encode(sdxl, "embedding:one embedding:two-v1.2.", **files)
    assert both.chunks == 2
    close(both.hidden[:41], ones[:41])
    close(both.hidden[77 : 77 + 41], twos[:41])  # up to the full stop behind it
    empty, half = encode(sdxl, "").hidden, encode(sdxl, "(embedding:one:0.5)", **files).hidden
    close(half[1:41], (empty[1:41] + ones[1:41]) / 2)


@pytest.mark.parametrize(
    ("text", "apart"),
    [
        ("embedding:ink.safetensors. A city", "embedding:ink. A city"),
        ("(embedding:ink.pt:1.2) fog", "(embedding:ink:1.2) fog"),
        ("embedding:ink(fog:1.2)", "embedding:ink (fog:1.2)"),
        ("(embedding:ink:1.2)(embedding:ink:1.2)", "(embedding:ink:1.2) (embedding:ink:1.2)"),
    ],
)
def test_names_end_where_people_end_them(
    sdxl: Models, two_people: RenderRequest, tmp_path: Path, text: str, apart: str
) -> None:
    save_for_two(tmp_path / "ink.safetensors", random_vectors(sdxl, 2))
    assert embeddings_of(replace(two_people, prompt=text)) == ("ink",)
    assert torch.equal(*(encode(sdxl, words, ink=tmp_path / "ink.safetensors").hidden for words in (text, apart)))


def test_a_picture_has_them_from_either_folder_and_its_record_says_which(
    tiny_models: ModelSet, two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beyondscene.backend.models.loras.user_data_path", lambda _: tmp_path)
    renderer, request = (
        Renderer("cpu"),
        replace(
            resized(two_people, 96, 64),
            characters=(),
            negative_prompt="(embedding:ink:1.2), fog",
            settings=RenderSettings(steps=2),
        ),
    )
    models = renderer.models(tiny_models)
    pixels = []
    for seed in (0, 1):
        save_for_two(tmp_path / "embeddings" / "ink.safetensors", random_vectors(models, 2, seed))
        renderer(request, {}, str(tiny_models.folder), tmp_path / f"{seed}.png", Spy())
        record = read_record(tmp_path / f"{seed}.png")
        pixels.append(((tmp_path / f"{seed}.png").read_bytes(), record.weights["embeddings/ink.safetensors"]))
    assert pixels[0][0] != pixels[1][0] and pixels[0][1] != pixels[1][1] and len(pixels[0][1]) == 64
    with pytest.raises(ModelSetError, match=r"The embedding 'ink' is not loaded, and the picture would be drawn without it"):
        render(models, request, {})


@pytest.mark.parametrize("last", [True, False])
def test_a_file_that_is_tidied_up_meanwhile(
    tiny_models: ModelSet, two_people: RenderRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    """While it is drawn the picture is not lost; before, it is said what is gone."""
    monkeypatch.setattr("beyondscene.backend.models.loras.user_data_path", lambda _: tmp_path)
    renderer, path = Renderer("cpu"), tmp_path / "embeddings" / "ink.safetensors"
    save_for_two(path, random_vectors(renderer.models(tiny_models), 2))
    request = replace(resized(two_people, 96, 64), characters=(), style="embedding:ink", settings=RenderSettings(steps=2))

    class Tidy(Spy):
        def progress(self, headway: Headway) -> None:
            if last == (headway.stage != "load"):
                path.unlink(missing_ok=True)

    with nullcontext() if last else pytest.raises(ModelSetError, match=r"ink\.safetensors cannot be read \("):
        renderer(request, {}, str(tiny_models.folder), tmp_path / "ink.png", Tidy())
    assert not path.exists() and (tmp_path / "ink.png").exists() == last


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (
            {"clip_l": (8, 768), "clip_g": (8, 1280)},
            r"holds clip_\w \(8, \d+\), clip_\w .*, but the model set '.*' takes 1 to 75",
        ),
        ({"emb_params": (8, 16)}, r"holds emb_params \(8, 16\), but .* vectors of 16 and 16 channels: choose one for the same"),
        ({"clip_l": (8, 16), "clip_g": (7, 16)}, "does not fit"),
        ({"clip_l": (76, 16), "clip_g": (76, 16)}, "does not fit"),
        ({"clip_l": (0, 16), "clip_g": (0, 16)}, "does not fit"),
        ({"clip_l": (), "clip_g": (2, 16)}, "does not fit"),
        (
            {f"lora_unet_{n}.lora_up.weight": (2, 2) for n in range(9)},
            r"holds .*, lora_unet_\d.lora_up.weight \(2, 2\) \.\.\., but",
        ),
    ],
)
def test_what_does_not_fit_is_known_by_its_header(
    tiny_models: ModelSet, two_people: RenderRequest, tmp_path: Path, tensors: dict[str, tuple[int, ...]], sentence: str
) -> None:
    (tmp_path / "embeddings").mkdir()
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, tmp_path / "embeddings" / "ink.safetensors")
    models = replace(tiny_models, folder=tmp_path, manifest=at_home(tiny_models))
    with pytest.raises(ModelSetError, match=sentence):
        gather_extras(replace(two_people, prompt="a city, embedding:ink"), models)


def test_known_ones_are_named_where_one_is_not(tiny_models: ModelSet, two_people: RenderRequest, tmp_path: Path) -> None:
    (tmp_path / "embeddings").mkdir()
    for name in ("ink", "bad-v1.2", "has spaces"):
        (tmp_path / "embeddings" / f"{name}.safetensors").touch()
    ana, *others = two_people.characters
    request = replace(two_people, characters=(replace(ana, part_prompts={"hair": "(embedding:oil:1.1)"}), *others))
    sentence = (
        r"no embedding 'oil': known are bad-v1.2, ink; put oil.safetensors into .*embeddings or .*, or take embedding:oil out"
    )
    with pytest.raises(ModelSetError, match=sentence):
        gather_extras(request, replace(tiny_models, folder=tmp_path))
