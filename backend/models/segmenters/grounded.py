"""Text to boxes to masks: GroundingDINO finds "person", "head" and "hair", SAM draws their outlines.

This is what lang-segment-anything does, which the paper uses; both networks come from transformers.
"""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoProcessor, GroundingDinoForObjectDetection, SamModel, SamProcessor

from ..sets import ModelSet
from ..weights import load_whole
from . import Box

log = logging.getLogger(__name__)

PERSON = ("person.", "human.")  # the paper's words, asked in turn
PARTS = ("hair", "head")
BOX_THRESHOLD, TEXT_THRESHOLD = 0.3, 0.25  # lang-segment-anything's defaults


def load(model_set: ModelSet, device: torch.device) -> "GroundedSegmenter":
    return GroundedSegmenter(model_set.role_folder("segmenter"), model_set.role_folder("sam"), device)


class GroundedSegmenter:
    """GroundingDINO and SAM, in single precision."""

    def __init__(self, detector: Path, sam: Path, device: torch.device) -> None:
        self.device = device
        self.words = AutoProcessor.from_pretrained(detector, local_files_only=True)
        single: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True, "use_safetensors": True}
        self.detector = load_whole(GroundingDinoForObjectDetection.from_pretrained, detector, **single)
        self.pixels = SamProcessor.from_pretrained(sam, local_files_only=True)
        self.sam = load_whole(SamModel.from_pretrained, sam, **single)
        self.networks = (self.detector.eval(), self.sam.eval())

    @torch.inference_mode()
    def segment(self, image: np.ndarray, wanted: Collection[str], body: Box) -> dict[str, np.ndarray]:
        """As Segmenter.segment.

        Of several people the one whose box fits `body` best is meant. Where none is found, SAM is asked what stands in `body`.
        """
        pixels = self.pixels(images=image, return_tensors="pt")  # type: ignore[call-arg]
        seen = self.sam.get_image_embeddings(
            pixels["pixel_values"].to(self.device, torch.float32)
        )  # nearly all of SAM's work, and the same for all words
        people = next((found for words in PERSON if (found := self.find(image, words))), [])
        if not people:
            log.info("the detector sees nobody in a portrait: the outline is that of what stands where the pose is")
        person = self.outline(image, seen, max(people, key=lambda box: overlap(box, body), default=body))

        def part(words: str) -> np.ndarray:
            """The surest one whose middle is on the person."""
            found = next((box for box in self.find(image, words) if holds_middle(person, box)), None)
            return np.zeros_like(person) if found is None else self.outline(image, seen, found) & person

        return {"person": person} | {name: part(f"{name}.") for name in PARTS if name in wanted}

    def find(self, image: np.ndarray, words: str) -> list[Box]:
        """Where the things are that `words` describe, the surest first."""
        inputs = self.words(images=image, text=words, return_tensors="pt").to(self.device)
        found = self.words.post_process_grounded_object_detection(
            self.detector(**inputs),
            inputs["input_ids"],
            threshold=BOX_THRESHOLD,
            text_threshold=TEXT_THRESHOLD,
            target_sizes=[image.shape[:2]],
        )[0]
        return [tuple(box) for box in found["boxes"][found["scores"].argsort(descending=True)].tolist()]

    def outline(self, image: np.ndarray, seen: torch.Tensor, box: Box) -> np.ndarray:
        """bool (H, W): what stands in `box`. seen: `image`, encoded by SAM."""
        prompted = self.pixels(images=image, input_boxes=[[list(box)]], return_tensors="pt")  # type: ignore[call-arg]
        boxes = prompted["input_boxes"].to(self.device, torch.float32)
        drawn = self.sam(image_embeddings=seen, input_boxes=boxes, multimask_output=False)
        masks = self.pixels.image_processor.post_process_masks(
            drawn.pred_masks.cpu(), prompted["original_sizes"], prompted["reshaped_input_sizes"]
        )
        return masks[0][0, 0].numpy()


def overlap(one: Box, other: Box) -> float:
    """Area of the intersection over that of the union, 0 to 1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((right - left) * (bottom - top) for left, top, right, bottom in (one, other))
    return shared / max(areas - shared, 1e-6)


def holds_middle(mask: np.ndarray, box: Box) -> bool:
    height, width = mask.shape
    column, row = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
    return bool(mask[min(max(row, 0), height - 1), min(max(column, 0), width - 1)])
