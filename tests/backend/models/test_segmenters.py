"""Whatever the segmenter, a head is head united with hair (paper, section 3.2)."""

import numpy as np
import pytest
import torch
from beyondscene.backend.models.segmenters import load_segmenter
from beyondscene.backend.models.segmenters.grounded import GroundedSegmenter
from beyondscene.backend.models.segmenters.semantic import SemanticSegmenter
from beyondscene.backend.models.sets import ModelSet, read_model_set
from beyondscene.backend.pipeline.instances import Portrait, centre
from beyondscene.backend.pipeline.segment import cut_out
from beyondscene.backend.planning.people import gather_people
from beyondscene.protocol import RenderRequest
from msgspec.structs import replace

from ...tiny_hub import save_tiny_sd15

CPU = torch.device("cpu")


@pytest.fixture
def semantic(tiny_models: ModelSet) -> SemanticSegmenter:
    """Not so shy of any class as random weights are."""
    segmenter = load_segmenter(tiny_models, CPU)
    assert isinstance(segmenter, SemanticSegmenter)
    torch.manual_seed(0)
    for parameter in segmenter.network.decode_head.parameters():
        torch.nn.init.normal_(parameter)
    return segmenter


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)


def test_classes_are_the_parts_that_their_labels_say(semantic: SemanticSegmenter, picture: np.ndarray) -> None:
    masks = semantic.segment(picture, ("head", "hair", "upper_body", "lower_body", "hands"))
    with torch.inference_mode():
        output = semantic.network(semantic.processor(picture, return_tensors="pt")["pixel_values"])
    (classes,) = semantic.processor.post_process_semantic_segmentation(output, [picture.shape[:2]])
    background, head, hair, upper, lower = (classes.numpy() == label for label in range(5))
    assert min(part.sum() for part in (background, head, hair, upper, lower)) > 20
    expected = {"head": head | hair, "hair": hair, "upper_body": upper, "lower_body": lower, "person": ~background}
    assert set(masks) == set(expected)
    assert all((masks[name] == mask).all() for name, mask in expected.items())
    assert set(semantic.segment(picture, ("hair",))) == {"person", "hair"}


def test_what_the_detector_finds_is_kept_within_the_person(
    tmp_path_factory: pytest.TempPathFactory, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = load_segmenter(read_model_set(save_tiny_sd15(tmp_path_factory.mktemp("grounded"))), CPU)
    assert isinstance(segmenter, GroundedSegmenter)
    rows, columns = np.indices(picture.shape[:2])
    person, head, hair = columns >= 30, (rows >= 20) & (rows < 40), rows < 28  # they overlap, and reach beyond the person
    found = {"person.": person, "head.": head, "hair.": hair}  # random weights find nothing of the kind
    monkeypatch.setattr(segmenter, "find", lambda _image, _seen, words: found[words])
    masks = segmenter.segment(picture, ("head", "hair"))
    assert set(masks) == {"person", "head", "hair"}
    assert (masks["person"] == person).all()
    assert (masks["head"] == (rows < 40) & person).all()
    assert (masks["hair"] == hair & person).all()


def test_a_prompt_for_the_head_holds_for_the_hair_too(semantic: SemanticSegmenter, two_people: RenderRequest) -> None:
    ana = replace(two_people.characters[0], part_prompts={"head": "red lips", "hair": "green hair"})
    person = gather_people(replace(two_people, characters=(ana,)))[0]
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    (cutout,) = cut_out(semantic, [Portrait(person, centre(person.keypoints, 128, 0.8), image)])
    head, hair = cutout.parts["head"], cutout.parts["hair"]
    assert hair.any() and (head | hair == head).all() and (head & ~hair).any()
    assert not (head & ~cutout.mask).any()
