"""Which pixels are the person, head, hair; whatever the segmenter, a head has its hair on (paper, section 3.2)."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from beyondscene.backend.models.load import load_models
from beyondscene.backend.models.segmenters import Box, load_segmenter
from beyondscene.backend.models.segmenters.grounded import GroundedSegmenter
from beyondscene.backend.models.segmenters.semantic import SemanticSegmenter
from beyondscene.backend.models.sets import ModelSet, ModelSetError, choose_model_set, read_model_set
from beyondscene.backend.pipeline.instances import Portrait, centre
from beyondscene.backend.pipeline.segment import cut_out
from beyondscene.backend.planning.people import gather_people
from beyondscene.protocol import RenderRequest
from msgspec.structs import replace
from safetensors.torch import load_file, save_file

from ...tiny_hub import save_tiny_sd15

CPU = torch.device("cpu")
WHOLE = (0.0, 0.0, 96.0, 128.0)


@pytest.fixture
def semantic(tiny_models: ModelSet) -> SemanticSegmenter:
    """Not so shy of any class as random weights are."""
    segmenter = load_segmenter(tiny_models, CPU)
    assert isinstance(segmenter, SemanticSegmenter)
    torch.manual_seed(0)
    for parameter in segmenter.network.decode_head.parameters():
        torch.nn.init.normal_(parameter)
    return segmenter


def test_weights_that_lack_tensors_are_refused(tiny_models: ModelSet, tmp_path: Path) -> None:
    """transformers makes up what they lack."""
    local = Path(shutil.copytree(tiny_models.folder, tmp_path / "tiny"))
    (file,) = (local / "segmenter").glob("*.safetensors")
    tensors = load_file(file)
    first = min(tensors)
    save_file({name: tensor for name, tensor in tensors.items() if name != first}, file, metadata={"format": "pt"})
    with pytest.raises(ModelSetError, match=rf"The weights in .*segmenter lack 1 of the tensors .*, such as {first}: they are"):
        load_models(read_model_set(local), CPU, torch.float32)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)


def test_beside_an_apple_gpu_the_embedded_models_segmenter_stays_on_the_cpu(picture: np.ndarray) -> None:
    """The GPU would pool its map of 16x16 to 1, 2, but neither to 3 nor to 6."""
    masks = [
        load_segmenter(choose_model_set("embedded"), torch.device(name)).segment(picture, ("head",), WHOLE)["person"]
        for name in ("cpu", "mps")  # which is not here: whatever is sent there fails
    ]
    assert np.array_equal(masks[0], masks[1])


def test_classes_are_the_parts_that_their_labels_say(semantic: SemanticSegmenter, picture: np.ndarray) -> None:
    masks = semantic.segment(picture, ("head", "hair", "upper_body", "lower_body", "hands"), WHOLE)
    with torch.inference_mode():
        output = semantic.network(semantic.processor(picture, return_tensors="pt")["pixel_values"])
    (classes,) = semantic.processor.post_process_semantic_segmentation(output, [picture.shape[:2]])
    background, head, hair, upper, lower = (classes.numpy() == label for label in range(5))
    assert min(part.sum() for part in (background, head, hair, upper, lower)) > 20
    expected = {"head": head, "hair": hair, "upper_body": upper, "lower_body": lower, "person": ~background}
    assert set(masks) == set(expected)
    assert all((masks[name] == mask).all() for name, mask in expected.items())
    assert set(semantic.segment(picture, ("hair",), WHOLE)) == {"person", "hair"}


@pytest.fixture
def grounded(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> GroundedSegmenter:
    """Its outlines are whole boxes: with random weights they would be nothing of the kind."""
    segmenter = load_segmenter(read_model_set(save_tiny_sd15(tmp_path_factory.mktemp("grounded"))), CPU)
    assert isinstance(segmenter, GroundedSegmenter)
    monkeypatch.setattr(segmenter, "outline", lambda image, _seen, box: filled(box, image))
    return segmenter


def filled(box: Box, picture: np.ndarray) -> np.ndarray:
    mask = np.zeros(picture.shape[:2], bool)
    left, top, right, bottom = map(int, box)
    mask[top:bottom, left:right] = True
    return mask


def test_of_what_the_detector_finds_the_posed_person_is_taken(
    grounded: GroundedSegmenter, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger, ana, hair, head = (0, 0, 40, 120), (50, 20, 90, 120), (45, 10, 80, 40), (50, 20, 70, 50)
    found = {"person.": [stranger, ana], "hair.": [(5, 0, 30, 20), hair], "head.": [head]}  # the stranger's are the surest
    monkeypatch.setattr(grounded, "find", lambda _image, words: found[words])
    masks = grounded.segment(picture, ("head", "hair"), (55, 30, 85, 110))
    assert (masks["person"] == filled(ana, picture)).all()
    assert (masks["hair"] == filled(hair, picture) & masks["person"]).all() and masks["hair"].any()
    assert (masks["head"] == filled(head, picture) & masks["person"]).all()


def test_whoever_the_detector_misses_is_outlined_where_the_pose_is(
    grounded: GroundedSegmenter, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = (50, 20, 90, 120)
    found: dict[str, list[Box]] = {"person.": [], "human.": [ana], "hair.": []}
    monkeypatch.setattr(grounded, "find", lambda _image, words: found[words])
    masks = grounded.segment(picture, ("hair",), WHOLE)
    assert (masks["person"] == filled(ana, picture)).all() and not masks["hair"].any()
    found["human."] = []
    assert (grounded.segment(picture, (), (50, 30, 80, 90))["person"] == filled((50, 30, 80, 90), picture)).all()


def test_a_prompt_for_the_head_holds_for_the_hair_too(semantic: SemanticSegmenter, two_people: RenderRequest) -> None:
    ana = replace(two_people.characters[0], part_prompts={"head": "red lips", "hair": "green hair"})
    person = gather_people(replace(two_people, characters=(ana,)))[0]
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    (cutout,) = cut_out(semantic, [Portrait(person, centre(person.keypoints, 128, 0.8), image)])
    head, hair = cutout.parts["head"], cutout.parts["hair"]
    assert hair.any() and (head | hair == head).all() and (head & ~hair).any()
    assert not (head & ~cutout.mask).any()
