"""A network that gives each pixel a class, with classes named after the parts of a person."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModelForSemanticSegmentation, SegformerImageProcessorPil

from ..sets import ModelSet
from ..weights import load_whole
from . import Box


def load(model_set: ModelSet, device: torch.device) -> "SemanticSegmenter":
    return SemanticSegmenter(model_set.role_folder("segmenter"), device)


class SemanticSegmenter:
    """Any Segformer or UPerNet whose label 0 is the background and whose other labels are parts of a person."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        read = AutoModelForSemanticSegmentation.from_pretrained
        self.network = load_whole(read, folder, use_safetensors=True, local_files_only=True)
        self.processor = SegformerImageProcessorPil.from_pretrained(folder, local_files_only=True)
        self.network.float().eval()
        # Apple's GPUs pool only to sizes that divide what is pooled (pytorch/pytorch#96056), which UPerNet's do not.
        on_host = device.type == "mps" and self.network.config.model_type == "upernet"
        self.device = torch.device("cpu") if on_host else device
        self.networks = () if on_host else (self.network,)

    @torch.inference_mode()
    def segment(self, image: np.ndarray, wanted: Collection[str], body: Box) -> dict[str, np.ndarray]:
        """As Segmenter.segment: "person" is all but the background."""
        pixels = self.processor(image, return_tensors="pt")["pixel_values"].to(self.device)
        logits = self.network(pixels).logits
        classes = F.interpolate(logits, image.shape[:2], mode="bilinear")[0].argmax(0).cpu().numpy()
        labels = {label: index for index, label in dict(self.network.config.id2label or {}).items() if int(index) > 0}
        return {label: classes == index for label, index in labels.items() if label in wanted} | {"person": classes > 0}
