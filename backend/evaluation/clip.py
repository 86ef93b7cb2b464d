"""How well a picture fits a text, by any model of CLIP's form: CLIP itself, or one tuned to people's preferences."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from transformers import AutoTokenizer, CLIPModel

from ..models.hub import locate
from ..models.weights import load_whole
from .judge import JudgeError

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def load_local(read: Callable[..., Any], name: str) -> Any:
    """`read` from this machine's files only: a folder, or the hub's cache. Raises JudgeError where they are not there."""
    missing = JudgeError(
        f"The public judge needs '{name}', which is not on this machine: run `hf download {name}` where there is a network."
    )
    folder = locate(name, Path())
    if not folder.exists():  # transformers, given the name, would ask the network all the same
        raise missing
    try:
        return read(folder, local_files_only=True)
    except OSError as error:
        raise missing from error


def to_pixels(picture: np.ndarray, mean: tuple[float, ...], deviation: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """uint8 (H, W, 3) to float (1, 3, H, W), normalised."""
    normalised = (picture.astype(np.float32) / 255 - np.array(mean, np.float32)) / np.array(deviation, np.float32)
    return torch.from_numpy(normalised).permute(2, 0, 1)[None].to(device)


class Reader:
    """A CLIP model and its tokenizer."""

    def __init__(self, name: str, device: torch.device) -> None:
        """Raises JudgeError where the model is not on this machine."""
        self.device = device
        self.clip = load_local(partial(load_whole, CLIPModel.from_pretrained, dtype=torch.float32), name).to(device).eval()
        self.tokenizer = load_local(AutoTokenizer.from_pretrained, name)

    @torch.inference_mode()
    def look(self, picture: np.ndarray) -> torch.Tensor:
        """float (C,): the features of a picture, uint8 (H, W, 3), squeezed to the square that the model sees."""
        side = self.clip.config.vision_config.image_size
        square = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        pixels = to_pixels(square, MEAN, DEVIATION, self.device)
        return self.clip.visual_projection(self.clip.vision_model(pixels).pooler_output)[0]

    @torch.inference_mode()
    def read(self, text: str) -> torch.Tensor:
        """float (C,): the features of a text, cut where the model's context ends."""
        tokens = self.tokenizer(text, truncation=True, return_tensors="pt").to(self.device)
        return self.clip.text_projection(self.clip.text_model(**tokens).pooler_output)[0]

    def match(self, pictures: list[np.ndarray], texts: list[str]) -> np.ndarray:
        """Cosines, -1 to 1, float32 (pictures, texts)."""
        looks = torch.stack([self.look(picture) for picture in pictures])
        words = torch.stack([self.read(text) for text in texts])
        looks, words = (torch.nn.functional.normalize(features, dim=1) for features in (looks, words))
        return (looks @ words.T).cpu().numpy()

    def prefer(self, picture: np.ndarray, text: str) -> float:
        """The model's own logit: `match` by its temperature, the score that PickScore (arXiv 2305.01569) publishes."""
        return float(self.match([picture], [text])[0, 0]) * self.clip.logit_scale.exp().item()
