"""What one call of each network costs, from its layers alone: nothing is computed, on torch's `meta` device."""

from typing import Any, NamedTuple, cast

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

from ..models.load import Models
from ..pipeline.text_attention import plain_cross_attention
from .count import count_flop
from .random_models import made_on

TOKENS = 77


class UnitCosts(NamedTuple):
    """FLOP.

    unet, controlnet: of one view of the training resolution and one prompt of 77 tokens, the reading of the pose included.
    embedding: that reading alone. text: the keys and values of that prompt in the cross-attention of both.
    decode: of one picture of the training resolution, untiled.
    """

    unet: int
    controlnet: int
    embedding: int
    text: int
    decode: int

    @property
    def known_view(self) -> int:
        """One view whose pose has been read and whose prompt is known, as at every step of joint diffusion."""
        return self.unet + self.controlnet - self.embedding - self.text


def unit_costs(models: Models) -> UnitCosts:
    window = models.view_latents
    with made_on("meta", torch.float32):
        unet = cast(UNet2DConditionModel, UNet2DConditionModel.from_config(models.unet.config))
        controlnet = cast(ControlNetModel, ControlNetModel.from_config(models.controlnet.config))
        vae = cast(AutoencoderKL, AutoencoderKL.from_config(models.vae.config))
        latents = torch.empty(1, models.vae.config["latent_channels"], window, window)
        pose = torch.empty(1, 3, models.training_resolution_px, models.training_resolution_px)
        pooled: Any = models.text_encoders[-1].config.projection_dim
        conditioning: dict[str, Any] = {
            "timestep": torch.empty(()),
            "encoder_hidden_states": torch.empty(1, TOKENS, models.unet.config["cross_attention_dim"]),
            "added_cond_kwargs": {"text_embeds": torch.empty(1, pooled), "time_ids": torch.empty(1, 6)},
        }
        return UnitCosts(
            unet=cost(unet, latents, **conditioning),
            controlnet=cost(controlnet, latents, controlnet_cond=pose, **conditioning),
            embedding=cost(controlnet.controlnet_cond_embedding, pose),
            text=sum(cost_of_text(layer) for network in (unet, controlnet) for layer in plain_cross_attention(network)),
            decode=cost(vae.decode, latents),
        )


def cost_of_text(layer: Any) -> int:
    return 2 * TOKENS * (layer.to_k.weight.numel() + layer.to_v.weight.numel())


@torch.no_grad()
def cost(network: Any, *args: Any, **kwargs: Any) -> int:
    with count_flop() as counter:
        network(*args, **kwargs)
    return counter.get_total_flops()
