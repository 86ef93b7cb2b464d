"""Which views go through the network at once, and what each of these batches is told."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import ceil
from typing import NamedTuple, TypeVar

import torch

from ..models.loras import LoraScales
from ..planning.views import View
from .conditions import Condition
from .pose_embeddings import PoseEmbedding, embed_poses
from .prompts import Embedding
from .sampler import Sampler

T = TypeVar("T")


class Kind(NamedTuple):
    """What is alike in all views of a batch.

    chunks: of their longest text, so that none is padded.
    empty: nobody is in them, and the sampler treats such views in another way.
    """

    loras: LoraScales
    chunks: int
    empty: bool


@dataclass(frozen=True)
class Batch:
    """Views that go through the network at once, and all that does not change from step to step.

    texts: one per view, or with guidance the negative ones and then the positive ones; on the device, where equal texts are one
    object: SDXL's take .3 MB for each chunk of a canvas's distinct prompts. Pose embeddings, of which every view has its own,
    stay in host memory.
    """

    views: list[View]
    texts: list[Embedding]
    pose_embeddings: list[PoseEmbedding]  # one per view; none where the ControlNet does not see them
    loras: LoraScales  # the same in all views
    time_ids: torch.Tensor  # float32 (texts, 6): half precision would round the crops of a large canvas
    empty: bool  # as in Kind


def make_batches(
    sampler: Sampler, views: list[View], conditions: list[Condition], shard: Callable[[list[int]], list[int]] = list
) -> Iterator[Batch]:
    """The batches of `group_views`. shard: as there; nothing is read or encoded for other views."""
    sampler.models.placement.bring(sampler.models.controlnet)
    kinds = [kind_of(sampler, condition) for condition in conditions]
    parts = group_views(kinds, sampler.models.view_batch, shard)
    to_read = [index for part in parts for index in part if is_posed(sampler, conditions[index])]
    read = embed_poses(sampler.models.controlnet, [conditions[index].pose for index in to_read], sampler.models.device)
    pose_embeddings = dict(zip(to_read, read, strict=True))
    for part in parts:
        mine = [pose_embeddings[index] for index in part if index in pose_embeddings]
        yield make_batch(sampler, kinds[part[0]], [views[index] for index in part], [conditions[index] for index in part], mine)


def kind_of(sampler: Sampler, condition: Condition) -> Kind:
    apart = sampler.controlnet_views == "with_people" or sampler.background_every > 1
    return Kind(condition.loras, chunks_of(sampler, condition), apart and condition.empty)


def group_views(kinds: list[Kind], most: int, shard: Callable[[list[int]], list[int]]) -> list[list[int]]:
    """Indices of the views that go through the network at once: of one kind each, at most `most`.

    kinds: of the views. shard: picks the wanted ones from the indices of all, in the order of their kinds.
    """
    order = shard(sorted(range(len(kinds)), key=kinds.__getitem__))
    return [part for _, group in groupby(order, key=kinds.__getitem__) for part in even_parts(list(group), most)]


def make_batch(
    sampler: Sampler, kind: Kind, views: list[View], conditions: list[Condition], pose_embeddings: list[PoseEmbedding]
) -> Batch:
    """Encode what views of one kind are told; one condition per view. pose_embeddings: as in Batch."""
    sampler.models.adapters.activate(kind.loras)
    texts = [sampler.encoder.encode(condition.prompt, kind.chunks) for condition in conditions]
    if sampler.guidance_scale > 1:
        texts = [sampler.encoder.encode_negative(condition.negative_prompt, kind.chunks) for condition in conditions] + texts
    sizes = [size_conditioning(sampler, view) for view in views] * (len(texts) // len(views))
    return Batch(
        views=views,
        texts=texts,
        pose_embeddings=pose_embeddings,
        loras=kind.loras,
        time_ids=torch.tensor(sizes, device=sampler.models.device, dtype=torch.float32),
        empty=kind.empty,
    )


def even_parts(items: list[T], most: int) -> list[list[T]]:
    """`items` in parts of at most `most`, whose lengths differ by at most 1: few shapes of batches."""
    count = ceil(len(items) / most)
    ends = [round(len(items) * part / count) for part in range(count + 1)]
    return [items[start:end] for start, end in pairwise(ends)]


def is_posed(sampler: Sampler, condition: Condition) -> bool:
    """Whether the ControlNet sees a view."""
    if sampler.controlnet_scale <= 0 or sampler.controlnet_views == "none":
        return False
    return sampler.controlnet_views == "all" or not condition.empty


def chunks_of(sampler: Sampler, condition: Condition) -> int:
    """Of the longest text that is read; what nobody reads must not pad the other."""
    read = (condition.prompt, condition.negative_prompt) if sampler.guidance_scale > 1 else (condition.prompt,)
    return max(sampler.encoder.count_chunks(text) for text in read)


def size_conditioning(sampler: Sampler, view: View) -> tuple[int, ...]:
    """SDXL's size conditioning, six numbers in pixels: height and width of the original, top and left of the crop, height and
    width of the target."""
    if sampler.canvas_px is None:
        side = sampler.models.training_resolution_px
        return side, side, 0, 0, side, side
    height, width = sampler.canvas_px
    factor = sampler.models.latent_downsampling
    return height, width, view[0] * factor, view[1] * factor, height, width
