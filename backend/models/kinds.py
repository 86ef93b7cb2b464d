"""Whether the networks of a model set are of a kind that the pipeline can run, and made for each other. Never imports torch."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from .headers import FILE_SECOND_TEXT, FILE_TEXTS, FILE_VAE, OF_UNION, SCALED_FLOAT8, describe, read_shapes
from .manifest import MANIFEST, ModelSetError, Role, read_json

if TYPE_CHECKING:
    from .sets import ModelSet

# model types of the segmenter, as config.json has them, and the file in segmenters/ that loads each
SEGMENTERS = {"segformer": "semantic", "upernet": "semantic", "grounding-dino": "grounded"}
DETECTORS_WORDS = ("vocab.txt", "tokenizer.json")
SCHEDULE = "scheduler/scheduler_config.json"
PREDICTIONS = ("epsilon", "v_prediction", "sample")  # that our solvers know
# What a file that is named for a role must hold
IN_FILES: dict[Role, str] = {"controlnet": "whole ControlNet", "inpainting": "whole UNet", "vae": "VAE"}


def check_pipeline(model_set: "ModelSet") -> None:
    """Raise ModelSetError for a base that is a pipeline of other networks: it would seem to lack some of ours."""
    path = model_set.role_folder("base") / "model_index.json"
    index = read_json(path)
    ours = all(all(index.get(name, [None])) for name in ("unet", "text_encoder"))  # [null, null] where it has none
    if path.is_file() and not ours:
        instead = "Stable Diffusion 1, 2 or XL with a UNet and text encoders"
        refuse(model_set, "base", f"is a {index.get('_class_name')}", instead)


def check_kinds(model_set: "ModelSet") -> None:
    """Raise ModelSetError for networks that are complete but of another kind, or made for another base."""
    base = model_set.role_folder("base")
    schedule, unet = model_set.schedule, read_json(base / "unet" / "config.json")
    check_base(model_set, unet, schedule)
    check_clip_skip(model_set)
    check_checkpoint(model_set, unet, schedule)
    check_controlnet(model_set, read_settings(model_set, "controlnet"), unet)
    inpainting = read_settings(model_set, "inpainting")
    check_inpainting(model_set, inpainting, unet)
    check_prediction(model_set, inpainting, read_json(model_set.role_folder("inpainting") / SCHEDULE), schedule)
    check_vae(model_set, read_settings(model_set, "vae"), unet, read_json(base / "vae" / "config.json"))
    check_segmenter(model_set, read_json(model_set.role_folder("segmenter") / "config.json"))


def read_settings(model_set: "ModelSet", role: Role) -> dict[str, Any]:
    """The config.json of `role`; for weights in one file the base's, and what their header says otherwise."""
    settings, file = read_json(model_set.settings_folder(role) / "config.json"), model_set.role_file(role)
    if file is None:
        return settings
    shapes = read_shapes(file)
    found = describe(shapes, role)
    if found is None:
        refuse(model_set, role, f"has no {IN_FILES[role]}", "a file with one, or a folder,")
    if role != "vae":  # which none scales, also where it lies in a checkpoint beside what is
        check_float8(model_set, role, shapes)
    return settings | found


def check_float8(model_set: "ModelSet", role: Role, names: Iterable[str]) -> None:
    if any(name.endswith(SCALED_FLOAT8) for name in names):
        refuse(model_set, role, "is in float8 with scales of its own", "the same in float16 or bfloat16")


def check_segmenter(model_set: "ModelSet", segmenter: dict[str, Any]) -> None:
    kind, first = segmenter.get("model_type"), segmenter.get("id2label", {}).get("0", "")
    if kind not in SEGMENTERS:
        names = [f'{name} (with a "sam" beside it)' if file == "grounded" else name for name, file in SEGMENTERS.items()]
        instead = f"one of the types {', '.join(names)}"
        refuse(model_set, "segmenter", f"has the model type {kind}", instead)
    if SEGMENTERS[kind] == "semantic" and first.lower() != "background":
        refuse(model_set, "segmenter", f"calls its label 0 '{first}'", "one whose label 0 is the background,")
    if kind != "grounding-dino":
        return
    if model_set.missing("sam"):
        refuse(model_set, "segmenter", "finds boxes alone", 'a SAM that draws outlines in them, as "sam",')
    if not any((model_set.role_folder("segmenter") / words).is_file() for words in DETECTORS_WORDS):
        refuse(model_set, "segmenter", f"has no {' or '.join(DETECTORS_WORDS)}", "one with its tokenizer")
    outlines = read_json(model_set.role_folder("sam") / "config.json").get("model_type")
    if outlines != "sam":  # transformers would read a newer one as far as names agree, and make up the rest
        refuse(model_set, "sam", f"has the model type {outlines}", "one of the type sam")


def check_base(model_set: "ModelSet", unet: dict[str, Any], schedule: dict[str, Any]) -> None:
    into, out = unet.get("in_channels", 4), unet.get("out_channels", 4)
    if into != out:
        refuse(model_set, "base", f"sees {into} channels and draws {out}", "one that sees nothing but latents")
    if unet.get("time_cond_proj_dim"):  # as LCM's, which pipelines of its own tell the guidance scale
        refuse(model_set, "base", "was distilled to be told its guidance", "the model that it was distilled from")
    kind, predicts = str(schedule.get("_class_name")), schedule.get("prediction_type", "epsilon")
    if kind.startswith(("EDM", "FlowMatch")) or predicts not in PREDICTIONS:  # other noise, of which our solvers know nothing
        instead = f"one with the noise schedule of Stable Diffusion 1, 2 or XL that predicts {', '.join(PREDICTIONS)}"
        refuse(model_set, "base", f"was trained for the {kind} and predicts {predicts}", instead)


def check_clip_skip(model_set: "ModelSet") -> None:
    skip, texts, base = model_set.manifest.clip_skip, model_set.text_encoders, model_set.role_folder("base")
    layers = [read_json(base / name / "config.json").get("num_hidden_layers", 12) for name in texts]
    most = max(0, min(layers) - len(texts))  # of SDXL's two one layer more is never read
    if skip > most:
        raise ModelSetError(
            f"The model set '{model_set.name}' has a clip_skip of {skip}, but its text encoders have layers for {most} "
            f"at most: write another number in {model_set.folder / MANIFEST}, or leave it out."
        )


def check_checkpoint(model_set: "ModelSet", unet: dict[str, Any], schedule: dict[str, Any]) -> None:
    """By the names and shapes in its header. unet: the settings that the base has for it."""
    if model_set.checkpoint is None:
        return
    instead, names = "a whole checkpoint of the same family as the base", read_shapes(model_set.checkpoint)
    found = describe(names, "checkpoint")
    if found is None:
        refuse(model_set, "checkpoint", "has no UNet in the layout of Stable Diffusion's authors", instead)
    parts: list[tuple[str | tuple[str, ...], str]] = [(FILE_TEXTS, "text encoders")]
    parts += [(FILE_SECOND_TEXT, "second text encoder")] if "text_encoder_2" in model_set.networks("base") else []
    parts += [(FILE_VAE, "VAE")] if "vae" not in model_set.manifest.roles else []
    for begin, part in parts:
        if not any(name.startswith(begin) for name in names):
            refuse(model_set, "checkpoint", f"has no {part}", instead)
    check_float8(model_set, "checkpoint", names)
    into, reads = found["in_channels"], found["cross_attention_dim"]
    if reads != unet.get("cross_attention_dim"):
        wanted = f"{instead}, which has {unet.get('cross_attention_dim')},"
        refuse(model_set, "checkpoint", f"reads prompts of {reads} channels", wanted)
    if into != unet.get("in_channels", 4):
        refuse(model_set, "checkpoint", f"sees {into} channels", "one that sees nothing but latents, no inpainting model,")
    if any(name.startswith("edm_") for name in names):
        refuse(model_set, "checkpoint", "was trained for an EDM schedule", "one with the base's own schedule of noise")
    if "prediction_type" in found and schedule.get("prediction_type") != "v_prediction":
        refuse(model_set, "checkpoint", "predicts v_prediction", f"a base whose {SCHEDULE} says so")
    if "ztsnr" in names and not schedule.get("rescale_betas_zero_snr"):
        refuse(model_set, "checkpoint", "begins at pure noise", f"a base whose {SCHEDULE} has rescale_betas_zero_snr")


def is_union(model_set: "ModelSet") -> bool:
    """Whether its ControlNet has the weights of a ControlNet-Union, whatever a config.json calls it: names differ."""
    weights = model_set.networks("controlnet")["."]
    return any(OF_UNION in read_shapes(file) for file in (weights.files if weights else ()))


def check_controlnet(model_set: "ModelSet", controlnet: dict[str, Any], unet: dict[str, Any]) -> None:
    if controlnet.get("_class_name") != "ControlNetModel" and not is_union(model_set):
        what = f"is a {controlnet.get('_class_name')}"
        refuse(model_set, "controlnet", what, "a ControlNetModel for OpenPose skeletons, or a ControlNet-Union of SDXL,")
    sees = controlnet.get("conditioning_channels", 3)
    if sees != 3:
        refuse(model_set, "controlnet", f"sees pictures of {sees} channels", "one for OpenPose skeletons, which have 3,")
    check_family(model_set, "controlnet", controlnet, unet)


def check_inpainting(model_set: "ModelSet", inpainting: dict[str, Any], unet: dict[str, Any]) -> None:
    check_family(model_set, "inpainting", inpainting, unet)
    if inpainting.get("in_channels") not in (4, 9):
        refuse(model_set, "inpainting", f"has {inpainting.get('in_channels')} input channels", "one with 4 or 9")


def check_family(model_set: "ModelSet", role: Role, network: dict[str, Any], unet: dict[str, Any]) -> None:
    reads, wanted = network.get("cross_attention_dim"), unet.get("cross_attention_dim")
    if reads != wanted:
        instead = f"one for the same family as the base, which has {wanted},"
        refuse(model_set, role, f"reads prompts of {reads} channels", instead)
    for name in ("block_out_channels", "layers_per_block"):  # what the ControlNet adds to UNets lies in these
        has, wanted = (one.get(name) for one in (network, unet))
        if has != wanted and has and wanted:
            instead = f"one for the same family as the base, which has {wanted},"
            refuse(model_set, role, f"has {name} of {has}", instead)


def check_prediction(model_set: "ModelSet", inpainting: dict[str, Any], own: dict[str, Any], schedule: dict[str, Any]) -> None:
    """What the base predicts the inpainting model must, since one scheduler serves both. own: its scheduler, if it has one."""
    wanted = schedule.get("prediction_type", "epsilon")
    # those of nine channels that are published predict the noise
    unsaid = "epsilon" if own or inpainting.get("in_channels") == 9 else wanted
    predicts = own.get("prediction_type", inpainting.get("prediction_type", unsaid))
    if predicts != wanted:
        refuse(model_set, "inpainting", f"predicts {predicts}, the base {wanted}", "one that predicts the same, or the base,")


def check_vae(model_set: "ModelSet", vae: dict[str, Any], unet: dict[str, Any], own: dict[str, Any]) -> None:
    """own: of the VAE that the base has itself, if it has one."""
    channels = unet.get("in_channels", 4)
    if vae.get("_class_name") != "AutoencoderKL" or vae.get("latent_channels", 4) != channels:
        what = f"is a {vae.get('_class_name')} of {vae.get('latent_channels')} channels"
        refuse(model_set, "vae", what, f"an AutoencoderKL of the {channels} channels that the base draws in")
    if vae.get("latents_mean") is not None:
        refuse(model_set, "vae", "shifts each channel (latents_mean)", "one that scales all channels alike,")
    for name, unsaid in (("scaling_factor", 0.18215), ("shift_factor", None)) if own else ():
        has, wanted = vae.get(name, unsaid), own.get(name, unsaid)
        if has != wanted:
            instead = f"one for the same family as the base, whose own has {wanted},"
            refuse(model_set, "vae", f"has the {name} {has}", instead)


def refuse(model_set: "ModelSet", role: Role, what: str, instead: str) -> NoReturn:
    place = model_set.manifest.roles.get(role, role)
    if model_set.folder.is_dir():
        instead += f' under "roles" in {model_set.folder / MANIFEST}'
    raise ModelSetError(f"The {role} model of the model set '{model_set.name}', '{place}', {what}: name {instead.rstrip(',')}.")
