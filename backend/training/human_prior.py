"""Train the HcP layers of an embedded model: render, encode, train, write them into its folder."""

from pathlib import Path

import msgspec
from torch import nn

from ..models.extras import digest_weights
from ..models.hcp import save_hcp
from ..models.host_memory import reuse_freed_memory
from ..models.manifest import MANIFEST, ModelSetError
from ..models.sets import ModelSet, read_model_set
from .denoiser import load_denoiser
from .further import FurtherSettings, claim_renders, gather_latents
from .hcp import HcpSettings, ResnetFeatures, limbs, train_hcp
from .runs import HcpRun, alone_in, check_numbers, claim
from .tokenizer import read_tokenizers
from .under_way import Report, Run, countdown


class HumanPriorSettings(FurtherSettings, frozen=True):
    """The whole run. models: a folder whose role `hcp` says where the layers go.

    reference: folder of a ResNet that sees bodies in pose pictures; None: limbs as they are drawn.
    """

    reference: Path | None = None
    hcp: HcpSettings = HcpSettings()


def train_human_prior(settings: HumanPriorSettings, report: Report) -> None:
    """Train and write the layers.

    report: receives a small dict per event, always with "stage". Raises OutOfTime; ModelSetError where the manifest has no
    role `hcp`, or the model is no embedded one; RunError where `settings.work` is in use or another run's, or a number means
    nothing.
    """
    run = Run(settings.work / "hcp", settings.seed, settings.device, report, countdown(settings.minutes))
    check_numbers(seed=settings.seed, views=settings.views, steps=settings.hcp.steps)
    model_set = read_model_set(settings.models)
    if "hcp" not in model_set.manifest.roles:
        raise ModelSetError(
            f'The model set \'{model_set.name}\' does not say where its HcP layers go: add "hcp": "hcp" to the roles in its '
            f"{MANIFEST}."
        )
    out = model_set.role_folder("hcp")
    denoiser = load_denoiser(settings.models, settings.sizes, settings.text)  # now, not after hours of rendering
    reference = limbs if settings.reference is None else ResnetFeatures(settings.reference, settings.device)
    claim_renders(settings)
    claim(run.folder, describe_run(settings))
    reuse_freed_memory(settings.device)

    def write(layers: nn.ModuleDict) -> None:
        save_hcp(layers, settings.hcp.config, out)
        report({"stage": "export", "folder": str(out)})

    with alone_in(run.folder):
        latents = gather_latents(run, settings)
        tokenizers = read_tokenizers(settings.models)
        line_width_px = model_set.manifest.pose_line_width_px
        write(train_hcp(run, latents, tokenizers, denoiser, settings.hcp, line_width_px, reference, write))


def describe_run(settings: HumanPriorSettings) -> HcpRun:
    """What another call must have in common to go on with this one's checkpoint."""
    return HcpRun(
        seed=settings.seed,
        views=settings.views,
        size_px=settings.size_px,
        base=digest_base(read_model_set(settings.models)),
        reduction=settings.hcp.config.reduction,
        reference=settings.reference.name if settings.reference else "limbs",
    )


def digest_base(model_set: ModelSet) -> str:
    """Of all weights but the layers themselves, which come to be."""
    roles = {role: place for role, place in model_set.manifest.roles.items() if role != "hcp"}
    manifest = msgspec.structs.replace(model_set.manifest, roles=roles)
    return digest_weights(msgspec.structs.replace(model_set, manifest=manifest), {})
