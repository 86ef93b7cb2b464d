"""Model sets of the real architectures with random weights, laid out as their repositories on the hub, as small as they go."""

import inspect
import json
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    ControlNetUnionModel,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    BertConfig,
    BertTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    GroundingDinoProcessor,
    SamConfig,
    SamImageProcessorPil,
    SamMaskDecoderConfig,
    SamModel,
    SamProcessor,
    SamPromptEncoderConfig,
    SamVisionConfig,
    SwinConfig,
)

WIDTHS = (16, 24)  # of SDXL's two text encoders, which differ as the real ones do
NOISE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def make_tokenizer(pad_token: str) -> CLIPTokenizer:
    """Bytes, as CLIP's own falls back to, and no merges: every script can be read, at one to four tokens a letter."""
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=77, pad_token=pad_token)


def text_config(tokenizer: CLIPTokenizer, width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=width, projection_dim=width, num_attention_heads=2,
        num_hidden_layers=2, bos_token_id=cast(int, tokenizer.bos_token_id), eos_token_id=cast(int, tokenizer.eos_token_id),
        pad_token_id=cast(int, tokenizer.pad_token_id),
    )  # fmt: skip


def make_sdxl_unet(in_channels: int = 4) -> UNet2DConditionModel:
    """Three blocks, the first without attention, more transformers in the last: SDXL's layout."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        transformer_layers_per_block=cast(Any, (1, 1, 2)),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=cast(Any, (2, 2, 4)),
        norm_num_groups=4,
        cross_attention_dim=sum(WIDTHS),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTHS[1],
    )


def make_sd15_unet(in_channels: int = 4) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2,
        norm_num_groups=4,
        cross_attention_dim=WIDTHS[0],
    )


def make_vae(scaling_factor: float) -> AutoencoderKL:
    """With attention in the mid block, as the real ones."""
    levels: dict[str, Any] = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return AutoencoderKL(
        **levels,
        block_out_channels=cast(Any, (8, 8, 8, 8)),
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=scaling_factor,
    )


def make_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    controlnet = ControlNetModel.from_unet(unet, conditioning_channels=3)
    wake(controlnet)
    return controlnet


def wake(controlnet: torch.nn.Module) -> None:
    """Its zero convolutions would hide the pose from every test."""
    for parameter in controlnet.parameters():
        if parameter.abs().sum() == 0:
            torch.nn.init.normal_(parameter, std=0.1)


def make_controlnet_union(unet: UNet2DConditionModel) -> ControlNetUnionModel:
    width = unet.config["block_out_channels"][0]
    trans = {"num_control_type": 8, "num_trans_channel": width, "num_proj_channel": width}
    known = inspect.signature(ControlNetUnionModel.__init__).parameters
    union = ControlNetUnionModel(**{name: value for name, value in unet.config.items() if name in known} | trans)
    wake(union)
    return union


def make_sdxl_base() -> DiffusionPipeline:
    first, second = make_tokenizer("<|endoftext|>"), make_tokenizer("!")
    return StableDiffusionXLPipeline(
        vae=make_vae(0.13025),
        text_encoder=CLIPTextModel(text_config(first, WIDTHS[0])),
        text_encoder_2=CLIPTextModelWithProjection(text_config(second, WIDTHS[1])),
        tokenizer=first,
        tokenizer_2=second,
        unet=make_sdxl_unet(),
        scheduler=cast(Any, EulerDiscreteScheduler(**NOISE, timestep_spacing="leading")),
        add_watermarker=False,
    )


def make_sd15_base() -> DiffusionPipeline:
    tokenizer = make_tokenizer("<|endoftext|>")
    return StableDiffusionPipeline(
        vae=make_vae(0.18215),
        text_encoder=CLIPTextModel(text_config(tokenizer, WIDTHS[0])),
        tokenizer=tokenizer,
        unet=make_sd15_unet(),
        scheduler=cast(Any, PNDMScheduler(**NOISE, skip_prk_steps=True)),
        safety_checker=cast(Any, None),
        feature_extractor=cast(Any, None),
        requires_safety_checker=False,
    )


def save_grounding_dino(folder: Path) -> None:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*specials, ".", "person", "head", "hair", "face", "hands", "feet", "upper", "lower", "body"]
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)})
    size = {"shortest_edge": 64, "longest_edge": 96}
    GroundingDinoProcessor(GroundingDinoImageProcessorPil(size=size), tokenizer).save_pretrained(folder)
    stages: dict[str, Any] = {"out_indices": [2, 3, 4]}
    swin = SwinConfig(image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2, **stages)
    bert = BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config = GroundingDinoConfig(
        backbone_config=swin, text_config=bert, d_model=64, num_queries=8, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=32, decoder_ffn_dim=32,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder)


def save_sam(folder: Path) -> None:
    side = {"height": 64, "width": 64}
    SamProcessor(SamImageProcessorPil(size={"longest_edge": 64}, pad_size=side)).save_pretrained(folder)
    vision = SamVisionConfig(
        hidden_size=16, output_channels=16, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=8,
        window_size=4, num_pos_feats=8, mlp_dim=16, global_attn_indexes=[0],
    )  # fmt: skip
    prompts = SamPromptEncoderConfig(hidden_size=16, image_size=64, patch_size=8)
    masks = SamMaskDecoderConfig(hidden_size=16, mlp_dim=16, num_attention_heads=2, num_hidden_layers=1, iou_head_hidden_dim=16)
    SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=masks)).save_pretrained(folder)


REPOSITORIES = {
    "base": "stabilityai/stable-diffusion-xl-base-1.0",
    "controlnet": "xinsir/controlnet-openpose-sdxl-1.0",
    "inpainting": "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
    "segmenter": "IDEA-Research/grounding-dino-base",
    "sam": "facebook/sam-vit-huge",
}


def save_tiny_hub(cache: Path) -> None:
    """The five repositories of the preset `sdxl` in a cache of the hub, with the files that `hf download` was told to get."""
    torch.manual_seed(0)
    places = {role: make_repository(cache, hub_id) for role, hub_id in REPOSITORIES.items()}
    base = make_sdxl_base()
    base.to(torch.float16).save_pretrained(places["base"], variant="fp16")
    controlnet = make_controlnet(make_sdxl_unet())
    controlnet.half().save_pretrained(places["controlnet"])
    controlnet.save_pretrained(places["controlnet"] / "unused")
    (places["controlnet"] / "unused" / "diffusion_pytorch_model.safetensors").rename(
        places["controlnet"] / "diffusion_pytorch_model_twins.safetensors"
    )
    make_sdxl_unet(9).half().save_pretrained(places["inpainting"] / "unet", variant="fp16")
    save_grounding_dino(places["segmenter"])
    save_sam(places["sam"])
    for place in places.values():
        list_files(place)


def list_files(snapshot: Path) -> None:
    """As `hf download` lists all files of the repository, whichever it was told to get: here a README.md is not among them."""
    names = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
    listing = snapshot.parent.parent / "trees" / f"{snapshot.name}.json"
    listing.parent.mkdir()
    files = {name: {"size": 1, "blob_id": "0" * 40} for name in (*names, "README.md")}
    listing.write_text(json.dumps({"format_version": 1, "files": files}))


def make_repository(cache: Path, hub_id: str) -> Path:
    """The folder of the one snapshot of `hub_id` in a cache of the hub."""
    folder, commit = cache / f"models--{hub_id.replace('/', '--')}", "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot


def write_manifest(folder: Path, roles: dict[str, str]) -> Path:
    """A set called "tiny-hub" for views of 64 px."""
    folder.mkdir(exist_ok=True)
    manifest = {"name": "tiny-hub", "training_resolution_px": 64, "pose_line_width_px": 2, "steps": 2, "roles": roles}
    (folder / "modelset.json").write_text(json.dumps(manifest | {"guidance_scale": 2.0}))
    return folder


def save_tiny_sd15(folder: Path) -> Path:
    """A set of Stable Diffusion 1.5's layout in local folders, with SAM and its detector."""
    torch.manual_seed(0)
    make_sd15_base().save_pretrained(folder / "base")
    make_controlnet(make_sd15_unet()).save_pretrained(folder / "controlnet")
    make_sd15_unet(9).save_pretrained(folder / "inpainting" / "unet")
    save_grounding_dino(folder / "detector")
    save_sam(folder / "sam")
    roles = {one: one for one in ("base", "controlnet", "inpainting", "sam")}
    return write_manifest(folder, roles | {"segmenter": "detector"})
