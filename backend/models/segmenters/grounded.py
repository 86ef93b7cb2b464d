"""Text to boxes to masks: GroundingDINO finds "person", "head" and "hair", SAM draws their outlines.

This is what lang-segment-anything does, which the paper uses; both networks come from transformers.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoProcessor, GroundingDinoForObjectDetection, SamModel, SamProcessor

from ..sets import ModelSet

BOX_THRESHOLD, TEXT_THRESHOLD = 0.3, 0.25  # lang-segment-anything's defaults


def load(model_set: ModelSet, device: torch.device) -> "GroundedSegmenter":
    return GroundedSegmenter(model_set.role_folder("segmenter"), model_set.role_folder("sam"), device)


class GroundedSegmenter:
    """GroundingDINO and SAM, in single precision."""

    def __init__(self, detector: Path, sam: Path, device: torch.device) -> None:
        self.device = device
        self.words = AutoProcessor.from_pretrained(detector, local_files_only=True)
        single: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True, "use_safetensors": True}
        self.detector = GroundingDinoForObjectDetection.from_pretrained(detector, **single)
        self.pixels = SamProcessor.from_pretrained(sam, local_files_only=True)
        self.sam = SamModel.from_pretrained(sam, **single)
        self.networks = (self.detector.eval(), self.sam.eval())

    @torch.inference_mode()
    def segment(self, image: np.ndarray, wanted: Collection[str]) -> dict[str, np.ndarray]:
        """As Segmenter.segment. The head is head united with hair (paper, section 3.2)."""
        pixels = self.pixels(images=image, return_tensors="pt")  # type: ignore[call-arg]
        seen = self.sam.get_image_embeddings(
            pixels["pixel_values"].to(self.device, torch.float32)
        )  # nearly all of SAM's work, and the same for all words
        masks = {"person": self.find(image, seen, "person.")}
        if "head" in wanted or "hair" in wanted:
            masks["hair"] = self.find(image, seen, "hair.") & masks["person"]
        if "head" in wanted:
            masks["head"] = self.find(image, seen, "head.") & masks["person"] | masks["hair"]
        return {name: mask for name, mask in masks.items() if name == "person" or name in wanted}

    def find(self, image: np.ndarray, seen: torch.Tensor, words: str) -> np.ndarray:
        """bool (H, W): the surest thing that `words` describe; all False if there is none. seen: `image`, encoded by SAM."""
        asked = self.words(images=image, text=words, return_tensors="pt").to(self.device)
        found = self.words.post_process_grounded_object_detection(
            self.detector(**asked),
            asked["input_ids"],
            threshold=BOX_THRESHOLD,
            text_threshold=TEXT_THRESHOLD,
            target_sizes=[image.shape[:2]],
        )[0]
        if len(found["scores"]) == 0:
            return np.zeros(image.shape[:2], bool)
        box = found["boxes"][found["scores"].argmax()].tolist()
        prompted = self.pixels(images=image, input_boxes=[[box]], return_tensors="pt")  # type: ignore[call-arg]
        boxes = prompted["input_boxes"].to(self.device, torch.float32)
        drawn = self.sam(image_embeddings=seen, input_boxes=boxes, multimask_output=False)
        masks = self.pixels.image_processor.post_process_masks(
            drawn.pred_masks.cpu(), prompted["original_sizes"], prompted["reshaped_input_sizes"]
        )
        return masks[0][0, 0].numpy()
