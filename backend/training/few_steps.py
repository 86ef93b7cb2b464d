"""Train the LoRA with which an embedded model draws in a few steps: render, encode, distil, write it into its folder."""

import msgspec
from torch import Tensor

from ..models.host_memory import reuse_freed_memory
from ..models.sets import own_few_steps, read_model_set
from .denoiser import load_denoiser
from .distil import DistilSettings, distil, save_lora
from .further import FurtherSettings, claim_renders, gather_latents
from .runs import FewStepsRun, alone_in, check_numbers, claim, digest_model_set
from .tokenizer import read_tokenizers
from .under_way import Report, Run, countdown


class FewStepsSettings(FurtherSettings, frozen=True):
    """The whole run. models: the teacher's folder."""

    distil: DistilSettings = DistilSettings()


def train_few_steps(settings: FewStepsSettings, report: Report) -> None:
    """Train and write the LoRA.

    report: receives a small dict per event, always with "stage". Raises OutOfTime; ModelSetError where the manifest has no
    entry `few_steps`, which says where the LoRA goes and how many steps it is for, or where the teacher is no embedded model;
    RunError where `settings.work` is in use or another run's, as of a teacher with other weights, or a number means nothing.
    """
    run = Run(settings.work / "few-steps", settings.seed, settings.device, report, countdown(settings.minutes))
    check_numbers(seed=settings.seed, views=settings.views, steps=settings.distil.steps)
    model_set = read_model_set(settings.models)
    few_steps = own_few_steps(model_set.manifest)
    out = few_steps.path(settings.models)
    plan = msgspec.structs.replace(settings.distil, jumps=few_steps.steps)
    teacher = load_denoiser(settings.models, settings.sizes, settings.text)  # now, not after hours of rendering
    claim_renders(settings)
    claim(run.folder, describe_run(settings, plan))
    reuse_freed_memory(settings.device)

    def write(layers: dict[str, Tensor]) -> None:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_lora(layers, out)
        report({"stage": "export", "file": str(out)})

    with alone_in(run.folder):
        latents = gather_latents(run, settings)
        tokenizers = read_tokenizers(settings.models)
        write(distil(run, latents, tokenizers, teacher, plan, model_set.manifest, write))


def describe_run(settings: FewStepsSettings, plan: DistilSettings) -> FewStepsRun:
    """What another call must have in common to go on with this one's checkpoint."""
    return FewStepsRun(
        seed=settings.seed,
        views=settings.views,
        size_px=settings.size_px,
        teacher=digest_model_set(settings.models),
        jumps=plan.jumps,
        teacher_steps=plan.teacher_steps,
        rank=plan.rank,
    )
