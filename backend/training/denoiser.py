"""The denoiser: text encoders, UNet and pose ControlNet of the SDXL layout, as one module to train."""

from pathlib import Path
from typing import cast

import msgspec
import torch
from diffusers import ControlNetModel, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from .tokenizer import MAX_TOKENS


class DenoiserSizes(msgspec.Struct, frozen=True):
    """Sizes of the networks; every width is a multiple of `head_width`."""

    widths: tuple[int, int, int] = (64, 96, 160)  # channels per level; the last two levels attend to the text
    pose_widths: tuple[int, ...] = (8, 16, 32, 48)  # channels that read the pose picture, full size to 1/8
    text_widths: tuple[int, int] = (64, 96)
    text_layers: tuple[int, int] = (3, 3)
    head_width: int = 32


class Denoiser(nn.Module):
    """Everything that predicts the velocity from noisy latents, captions and a pose picture."""

    def __init__(self, sizes: DenoiserSizes, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder = CLIPTextModel(_text_config(sizes, 0, tokenizer, cast(int, tokenizer.eos_token_id)))
        self.text_encoder_2 = CLIPTextModelWithProjection(_text_config(sizes, 1, tokenizer, 0))
        heads = tuple(width // sizes.head_width for width in sizes.widths)
        shared = {
            "block_out_channels": sizes.widths,
            "layers_per_block": 1,
            "attention_head_dim": heads,  # the number of heads, despite its name
            "cross_attention_dim": sum(sizes.text_widths),
            "norm_num_groups": 16,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 32,
            "projection_class_embeddings_input_dim": 6 * 32 + sizes.text_widths[1],
        }
        self.unet = UNet2DConditionModel(
            sample_size=32,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
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
        tokens: Tensor,
        kept_text: Tensor,
        poses: Tensor,
        kept_pose: Tensor,
        sizes: Tensor,
    ) -> Tensor:
        """Return the predicted velocity (B, 4, h, w).

        noisy: (B, 4, h, w). timesteps: (B,). tokens: int (2, B, chunks, MAX_TOKENS), for either encoder.
        kept_text, kept_pose: (B,), 0 removes the text (zero embeddings) or the ControlNet's residuals.
        poses: (B, 3, 8 h, 8 w), 0..1. sizes: (B, 6), SDXL's original size, crop corner and target size.
        """
        states, pooled = encode_text(self.text_encoder, self.text_encoder_2, tokens)
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
        for name in ("unet", "controlnet", "text_encoder", "text_encoder_2"):
            (weights,) = (folder / name).glob("*.safetensors")
            getattr(self, name).load_state_dict({key: tensor.float() for key, tensor in load_file(weights).items()})

    @torch.no_grad()
    def _wake(self) -> None:
        """Replace initial values that suit fine-tuning; here everything starts from nothing.

        Zero convolutions exist to spare a trained UNet, and CLIP's tiny embeddings a long warm-up: with them pose
        and words would take many steps to be heard at all.
        """
        net = self.controlnet
        for conv in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
            nn.init.kaiming_uniform_(cast(Tensor, conv.weight), a=3.0)
        for encoder in (self.text_encoder, self.text_encoder_2):
            for module in encoder.modules():
                if isinstance(module, nn.Embedding):
                    nn.init.normal_(module.weight, std=0.15)
        nn.init.zeros_(self.unet.conv_out.weight)


def encode_text(first: CLIPTextModel, second: CLIPTextModelWithProjection, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return the states (B, chunks * MAX_TOKENS, d1 + d2) and the first chunk's pooled embedding (B, d2), as SDXL uses them.

    tokens: int (2, B, chunks, MAX_TOKENS).
    """
    count, chunks = tokens.shape[1:3]
    outputs = [
        encoder(part.flatten(0, 1), output_hidden_states=True) for encoder, part in zip((first, second), tokens, strict=True)
    ]
    states = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
    return states.reshape(count, chunks * MAX_TOKENS, -1), outputs[1].text_embeds.reshape(count, chunks, -1)[:, 0]


def build_scheduler() -> DDIMScheduler:
    """Return the noise schedule: velocity prediction, zero signal at the last step, trailing spacing."""
    return DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing",
        clip_sample=False, set_alpha_to_one=True,
    )  # fmt: skip


def _text_config(sizes: DenoiserSizes, which: int, tokenizer: CLIPTokenizer, pad: int) -> CLIPTextConfig:
    width = sizes.text_widths[which]
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=sizes.text_layers[which],
        num_attention_heads=width // 32,
        projection_dim=width,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=cast(int, tokenizer.bos_token_id),
        eos_token_id=cast(int, tokenizer.eos_token_id),
        pad_token_id=pad,
    )
