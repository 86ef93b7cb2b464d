"""What the detector and SAM hold at their fullest, beside their weights, as docs/optimisations.md reckons with it."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beyondscene.backend.models.device_memory import GIB
from beyondscene.backend.models.segmenters.grounded import GroundedSegmenter
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    SamConfig,
    SamModel,
    SamVisionConfig,
    SwinConfig,
)

from ...tiny_hub import save_grounding_dino, save_sam

CPU = torch.device("cpu")


class LiveTensors(TorchDispatchMode):
    """Adds up what each operation makes, until it is let go: what a GPU's allocator would hand out, and on any device."""

    def __init__(self) -> None:
        super().__init__()
        self.now_bytes = self.peak_bytes = 0
        self._live: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {one.untyped_storage()._cdata for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        made = func(*args, **(kwargs or {}))
        for storage in (one.untyped_storage() for one in tree_leaves(made) if isinstance(one, torch.Tensor)):
            if storage._cdata not in given | self._live:
                self._live.add(storage._cdata)
                self.now_bytes += storage.nbytes()
                weakref.finalize(storage, self._let_go, storage._cdata, storage.nbytes())
        self.peak_bytes = max(self.peak_bytes, self.now_bytes)
        return made

    def _let_go(self, storage: int, count: int) -> None:
        self._live.discard(storage)
        self.now_bytes -= count


@torch.inference_mode()
def counted_bytes(run: Callable[[], object]) -> int:
    with LiveTensors() as live:
        run()
    return live.peak_bytes


@torch.inference_mode()
def allocated_bytes(run: Callable[[], object]) -> int:
    """What torch's own allocator has handed out at most."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    assert profiler.profiler and profiler.profiler.kineto_results
    events: list[Any] = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    return int(np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]).max())


def test_what_is_counted_is_what_is_allocated(tmp_path: Path) -> None:
    save_grounding_dino(tmp_path / "detector")
    save_sam(tmp_path / "sam")
    segmenter = GroundedSegmenter(tmp_path / "detector", tmp_path / "sam", CPU)
    asked = segmenter.words(images=np.zeros((96, 96, 3), np.uint8), text="person.", return_tensors="pt")
    for run in (
        lambda: segmenter.detector(**asked),
        lambda: segmenter.sam.get_image_embeddings(torch.zeros(1, 3, 64, 64)),
    ):
        run()  # what is made once and kept does not count
        assert counted_bytes(run) == pytest.approx(allocated_bytes(run), rel=0.02)


@pytest.mark.slow
def test_sam_takes_more_than_the_detector_and_both_as_the_docs_say() -> None:
    """At the sizes of `sdxl`, for a person of 1024x1024 px; the detector sees 800x800 of it."""
    attention: Any = {"num_attention_heads": 16, "global_attn_indexes": [7, 15, 23, 31]}
    with torch.device("meta"):  # no weights, no time: only shapes
        sam = SamModel(
            SamConfig(vision_config=SamVisionConfig(hidden_size=1280, num_hidden_layers=32, mlp_dim=5120, **attention))
        )
        picture = torch.zeros(1, 3, 1024, 1024)
    assert counted_bytes(lambda: sam.eval().get_image_embeddings(picture)) / GIB == pytest.approx(2.10, abs=0.01)
    stages: Any = {"depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "out_indices": [2, 3, 4]}
    swin = SwinConfig(image_size=384, embed_dim=128, window_size=12, **stages)
    detector = GroundingDinoForObjectDetection(GroundingDinoConfig(backbone_config=swin)).eval()
    words = torch.tensor([[101, 2711, 1012, 102]])  # "person.", as BERT's vocabulary has it
    asked: Any = {"pixel_values": torch.zeros(1, 3, 800, 800), "input_ids": words, "attention_mask": torch.ones_like(words)}
    assert counted_bytes(lambda: detector(**asked)) / GIB == pytest.approx(0.79, abs=0.01)
