"""Which views go through the network at once, and what each of these batches is told."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import ceil
from typing import NamedTuple, TypeVar

import torch

from ..models.loras import Worn
from ..planning.views import View
from .conditions import Condition
from .hints import Hint, read_poses
from .job import Job
from .prompts import Embedding

T = TypeVar("T")


class Kind(NamedTuple):
    """What is alike in all views of a batch.

    chunks: of their longest text, so that none is padded.
    empty: nobody is in them, and the job treats such views in another way.
    """

    loras: Worn
    chunks: int
    empty: bool


@dataclass(frozen=True)
class Batch:
    """Views that go through the network at once, and all that does not change from step to step.

    texts: one per view, or with guidance the negative ones and then the positive ones. Equal texts are one object, and hints
    stay in host memory: what a batch holds is small, so that a large canvas costs no more device memory than a small one.
    """

    views: list[View]
    texts: list[Embedding]
    hints: list[Hint]  # one per view; none without a ControlNet
    loras: Worn  # the same in all views
    time_ids: torch.Tensor  # float32 (texts, 6): half precision would round the crops of a large canvas
    empty: bool = False  # as in Kind


def make_batches(
    job: Job, views: list[View], conditions: list[Condition], shard: Callable[[list[int]], list[int]] = list
) -> Iterator[Batch]:
    """The batches of `group_views`. shard: as there; nothing is read or encoded for other views."""
    job.models.turns.begin(job.models.controlnet)
    kinds = [kind_of(job, condition) for condition in conditions]
    parts = group_views(kinds, job.models.view_batch, shard)
    to_read = [index for part in parts for index in part if is_posed(job, conditions[index])]
    read = read_poses(job.models.controlnet, [conditions[index].pose for index in to_read], job.models.device)
    hints = dict(zip(to_read, read, strict=True))
    for part in parts:
        mine = [hints[index] for index in part if index in hints]
        yield make_batch(job, kinds[part[0]], [views[index] for index in part], [conditions[index] for index in part], mine)


def kind_of(job: Job, condition: Condition) -> Kind:
    apart = job.controlnet_views == "with_people" or job.background_every > 1
    return Kind(condition.loras, chunks_of(job, condition), apart and condition.empty)


def group_views(kinds: list[Kind], most: int, shard: Callable[[list[int]], list[int]] = list) -> list[list[int]]:
    """Indices of the views that go through the network at once: of one kind each, at most `most`.

    kinds: of the views. shard: picks those that are wanted from all of them, of which equal ones lie side by side.
    """
    order = shard(sorted(range(len(kinds)), key=kinds.__getitem__))
    return [part for _, group in groupby(order, key=kinds.__getitem__) for part in even_parts(list(group), most)]


def make_batch(job: Job, kind: Kind, views: list[View], conditions: list[Condition], hints: list[Hint]) -> Batch:
    """Encode what views of one kind are told. hints: as in Batch."""
    job.models.adapters.wear(kind.loras)
    texts = [job.encoder.encode(condition.prompt, kind.chunks) for condition in conditions]
    if job.guidance_scale > 1:
        texts = [job.encoder.encode_negative(condition.negative_prompt, kind.chunks) for condition in conditions] + texts
    sizes = [size_conditioning(job, view) for view in views] * (len(texts) // len(views))
    return Batch(
        views=views,
        texts=texts,
        hints=hints,
        loras=kind.loras,
        time_ids=torch.tensor(sizes, device=job.models.device, dtype=torch.float32),
        empty=kind.empty,
    )


def even_parts(items: list[T], most: int) -> list[list[T]]:
    """`items` in parts of equal length but for one, at most `most`: few shapes of batches."""
    count = ceil(len(items) / most)
    ends = [round(len(items) * part / count) for part in range(count + 1)]
    return [items[start:end] for start, end in pairwise(ends)]


def is_posed(job: Job, condition: Condition) -> bool:
    """Whether the ControlNet sees a view."""
    if job.controlnet_scale <= 0 or job.controlnet_views == "none":
        return False
    return job.controlnet_views == "all" or not condition.empty


def chunks_of(job: Job, condition: Condition) -> int:
    """Of the longest text that is read; what nobody reads must not pad the other."""
    read = (condition.prompt, condition.negative_prompt) if job.guidance_scale > 1 else (condition.prompt,)
    return max(job.encoder.count_chunks(text) for text in read)


def size_conditioning(job: Job, view: View) -> tuple[int, ...]:
    """SDXL's size conditioning: original size, crop, target size."""
    if job.canvas_px is None:
        side = job.models.training_resolution_px
        return side, side, 0, 0, side, side
    height, width = job.canvas_px
    factor = job.models.latent_downsampling
    return height, width, view[0] * factor, view[1] * factor, height, width
