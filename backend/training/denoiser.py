"""The denoiser: text encoders, UNet and pose ControlNet of the SDXL layout, as one module to train."""

from pathlib import Path
from typing import cast

import msgspec
import torch
from diffusers import ControlNetModel, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTokenizer

from ..models.sets import ModelSetError
from .text import TextEncoders, TextSettings


class DenoiserSizes(msgspec.Struct, frozen=True):
    """Sizes of UNet and ControlNet; every width is a multiple of `head_width`."""

    widths: tuple[int, int, int] = (64, 96, 128)  # channels per level
    pose_widths: tuple[int, ...] = (8, 16, 32, 48)  # channels that read the pose picture, full size to 1/8
    head_width: int = 32


class Denoiser(nn.Module):
    """Everything that predicts the velocity from noisy latents, captions and a pose picture.

    Unlike SDXL's, its UNet attends to the text at full size too: a garment is two or three latents wide. With attention
    on the lower two levels only, colours did not find their garments in 8000 steps; with it, they began to in 200.
    """

    def __init__(self, sizes: DenoiserSizes, text: TextEncoders) -> None:
        super().__init__()
        self.text = text
        shared = {
            "block_out_channels": sizes.widths,
            "layers_per_block": 1,
            "attention_head_dim": tuple(width // sizes.head_width for width in sizes.widths),  # their number, despite its name
            "cross_attention_dim": text.first.config.hidden_size + text.second.config.hidden_size,
            "norm_num_groups": 16,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 32,
            "projection_class_embeddings_input_dim": 6 * 32 + cast(int, text.second.config.projection_dim),
        }
        self.unet = UNet2DConditionModel(
            sample_size=32,
            down_block_types=("CrossAttnDownBlock2D",) * 3,
            up_block_types=("CrossAttnUpBlock2D",) * 3,
            **shared,
        )
        self.controlnet = ControlNetModel(
            down_block_types=("DownBlock2D",) * 3,
            mid_block_type="UNetMidBlock2D",
            conditioning_embedding_out_channels=sizes.pose_widths,
            **shared,
        )
        self._wake()

    def forward(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        states: Tensor,
        pooled: Tensor,
        kept_text: Tensor,
        poses: Tensor,
        kept_pose: Tensor,
        sizes: Tensor,
    ) -> Tensor:
        """Return the predicted velocity (B, 4, h, w).

        noisy: (B, 4, h, w). timesteps: (B,). states, pooled: of the captions, as `text` gives them.
        kept_text, kept_pose: (B,), 0 removes the text (zero embeddings) or the ControlNet's residuals.
        poses: (B, 3, 8 h, 8 w), 0..1. sizes: (B, 6), SDXL's original size, crop corner and target size.
        """
        states, pooled = states * kept_text[:, None, None], pooled * kept_text[:, None]
        added = {"text_embeds": pooled, "time_ids": sizes}
        down, middle = self.controlnet(noisy, timesteps, states, poses, added_cond_kwargs=added, return_dict=False)
        kept = kept_pose[:, None, None, None]
        return self.unet(
            noisy, timesteps, states, added_cond_kwargs=added,
            down_block_additional_residuals=[kept * residual for residual in down],
            mid_block_additional_residual=kept * middle,
            return_dict=False,
        )[0]  # fmt: skip

    def load(self, folder: Path) -> None:
        """Take the weights of the model set in `folder`. Raises RuntimeError where its sizes differ."""
        parts = {"unet": self.unet, "controlnet": self.controlnet}
        parts |= {"text_encoder": self.text.first, "text_encoder_2": self.text.second}
        for name, part in parts.items():
            (weights,) = (folder / name).glob("*.safetensors")
            part.load_state_dict({key: tensor.float() for key, tensor in load_file(weights).items()})

    @torch.no_grad()
    def _wake(self) -> None:
        """Replace initial values that suit fine-tuning.

        Zero convolutions exist to spare a trained UNet; here, where nothing is trained yet, the pose would be heard late.
        """
        net = self.controlnet
        for conv in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
            nn.init.kaiming_uniform_(cast(Tensor, conv.weight), a=3.0)
        nn.init.zeros_(self.unet.conv_out.weight)


def load_denoiser(folder: Path, sizes: DenoiserSizes, text: TextSettings) -> Denoiser:
    """That of the model set in `folder`. Raises ModelSetError where its parts or their sizes are others."""
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        denoiser = Denoiser(sizes, TextEncoders(text, tokenizer))
        denoiser.load(folder)
    except (OSError, ValueError, RuntimeError) as error:  # no such files, or other layers in them
        raise ModelSetError(
            f"{folder} has not the networks of the embedded model, in its sizes: name a folder that "
            "`beyondscene train embedded` has written."
        ) from error
    return denoiser


def build_scheduler() -> DDIMScheduler:
    """Return the noise schedule: velocity prediction, zero signal at the last step, trailing spacing."""
    return DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing",
        clip_sample=False, set_alpha_to_one=True,
    )  # fmt: skip
