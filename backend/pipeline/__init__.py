"""BeyondScene (arXiv 2404.04544), stage by stage: the whole method on one page."""

import dataclasses
from functools import partial

import numpy as np

from ...protocol import RenderRequest, check_request, is_seen
from ..models.extras import check_loaded
from ..models.load import Models
from ..planning.expect import expect_work
from ..planning.people import Figure, Person, gather_people
from ..planning.plan import Size, plan_sizes
from ..planning.resolve import resolve_request, resolve_settings, resolved_settings
from ..watch import Checkpoints, NoWatcher, PixelType, Watcher
from .composite import compose
from .enlarge import enlarge_level
from .inpaint import inpaint_background
from .instances import draw_people_alone
from .progress import Progress
from .prompts import PromptEncoder
from .resize import fit
from .segment import cut_out
from .tone import normalise_tone

__all__ = ["Progress", "render", "resolve_settings"]

PAPER_RESOLUTION_PX = 1024  # at which widths of rims are given


def render(
    models: Models,
    request: RenderRequest,
    arrays: dict[str, np.ndarray],
    watcher: Watcher | None = None,
    checkpoints: Checkpoints | None = None,
    dtype: PixelType = np.uint8,
) -> tuple[np.ndarray, list[Figure], Progress]:
    """The picture, (height, width, 3) in `dtype`; who is where in it, far to near; and what it took.

    arrays: the masks that the request names, by digest. checkpoints: of an earlier attempt at this picture, and for a later
    one; the pixels are the same. dtype: with uint16, the last level keeps what 8 bits would round off. Raises Stopped where the
    watcher says so, RequestError for a request that breaks a rule, and ModelSetError for settings that these models do not know
    and for a LoRA of the request, or of `few_steps`, that is not loaded.
    """
    check_request(request)
    request = resolve_request(request, models.model_set)
    check_loaded(request, models.adapters.names)
    watcher = watcher or NoWatcher()
    models = dataclasses.replace(models, check=watcher.check)
    plan = plan_sizes(request, models.training_resolution_px, models.latent_downsampling)
    people = gather_seen(models, request, arrays)
    encoder = PromptEncoder(models)
    encoder.check(request)
    work = expect_work(request, plan, people, models.training_resolution_px, models.latent_downsampling)
    progress = Progress(watcher, len(plan.levels), work.whole, checkpoints)

    # stage 1
    image, figures = draw_base_image(models, request, arrays, people, plan.base, encoder, progress)
    # stage 2: instance-aware hierarchical enlargement
    for level, size in enumerate(plan.levels, start=1):
        drawn = dtype if level == len(plan.levels) else np.uint8
        key = f"level {level} {drawn.__name__}"
        image = progress.once(key, enlarge_level, models, request, figures, image, size, level, encoder, progress, drawn)
    return fit(image, request.width, request.height, dtype), figures, progress


def gather_seen(models: Models, request: RenderRequest, arrays: dict[str, np.ndarray]) -> list[Person]:
    """The people of `request` far to near, but for those who stand wholly behind others or the set: they would be drawn for
    nothing, and their skeleton would call them forth."""
    return [person for person in gather_people(request, models.manifest) if is_seen(person.character, arrays)]


def draw_base_image(
    models: Models, request: RenderRequest, arrays: dict[str, np.ndarray], people: list[Person], size: Size,
    encoder: PromptEncoder, progress: Progress,
) -> tuple[np.ndarray, list[Figure]]:  # fmt: skip
    """The detailed base image, uint8 (H, W, 3) of `size`, and who is where in it, far to near.

    request: with its settings resolved. people: far to near.
    """
    settings = resolved_settings(request)
    px_scale = models.training_resolution_px / PAPER_RESOLUTION_PX
    portraits = draw_people_alone(models, request, people, encoder, progress)
    with progress.stage("composite", steps=2 * len(portraits)) as stage:
        on_person = partial(stage.step, evaluations=0)
        models.placement.bring(*models.segmenter.networks)
        cutouts = cut_out(models.segmenter, portraits, on_person)
        collage = compose(request, arrays, cutouts, size, settings.mask_feather_px * px_scale, on_person)
        progress.preview(collage.show())
        progress.remarks += collage.remarks
    seam_px = settings.seam_erosion_px * px_scale
    image = progress.once("base", inpaint_background, models, request, collage, encoder, seam_px, progress)
    with progress.stage("tone"):
        image = normalise_tone(image, settings.clahe_clip_limit, settings.clahe_tiles)
    return image, collage.figures
