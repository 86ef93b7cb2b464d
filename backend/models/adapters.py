"""The LoRAs of a picture on the networks of a model set, through peft: loaded for it, active by turns, then taken off.

And its embeddings, which the text encoders read where prompts name them.
"""

import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from diffusers.loaders import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin
from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_peft
from diffusers.utils.peft_utils import (
    _create_lora_config,
    recurse_remove_peft_layers,
    set_adapter_layers,
    set_weights_and_activate_adapters,
)
from peft import inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn import functional

from .alphas import level_alphas
from .device_memory import is_out_of_memory
from .learned_words import NO_WORDS, LearnedWords, read_words
from .loras import FEW_STEPS, LoraScales
from .offload import DevicePlacement
from .sets import ModelSetError
from .textual_inversions import KEY

Tensors = dict[str, Tensor]
TEXT_PREFIXES = ("text_encoder", "text_encoder_2")
DOWN, UP = ("lora_A.weight", "down.weight"), ("lora_B.weight", "up.weight")  # peft's and older diffusers' halves of a layer


class Adapters:
    """Which LoRAs the networks carry, and which of them count now."""

    def __init__(self, unets: Sequence[nn.Module], text_encoders: Sequence[nn.Module], placement: DevicePlacement) -> None:
        """unets: those that are changed alike, such as the base's and the inpainting one."""
        self.unets = list(dict.fromkeys(unets))
        self.text_encoders = list(text_encoders)
        self.placement = placement
        self.active: LoraScales = ()
        self.names: tuple[str, ...] = ()  # of the loaded ones
        self.words: LearnedWords = NO_WORDS
        self._keys: dict[str, str] = {}  # of a LoRA in peft, which takes no dots, by its name
        self._before: list[tuple[nn.Module, Tensor]] = []  # layers, and their weights before a LoRA became part of them

    @contextmanager
    def loaded(self, paths: Mapping[str, Path]) -> Iterator[None]:
        """Within, the LoRAs in `paths`, by their names, can be activated; after it the networks are what they were.

        The embeddings there are `words`. The LoRA for few steps is active all the time: it is merged into the weights, so
        that an evaluation costs no more than without it; what they were is kept in host memory. Raises ModelSetError for a
        file that is no LoRA of this family.
        """
        if not paths:
            yield
            return
        self.placement.release()
        try:
            if FEW_STEPS.name in paths:
                self._merge(FEW_STEPS.name, paths[FEW_STEPS.name])
            for name, path in paths.items():
                if name != FEW_STEPS.name and not name.startswith(KEY):
                    self._load(name, path)
            self.words = read_words(paths, len(self.text_encoders))
            self._activate(())
            self.names = tuple(paths)
            yield
        finally:
            try:
                self.placement.release()
            finally:
                for network in (*self.unets, *self.text_encoders):
                    take_off(network)
                for layer, before in self._before:  # not their parameters, which streaming by layers exchanges
                    cast(Tensor, layer.weight).data.copy_(before)
                self._keys, self._before, self.active, self.names, self.words = {}, [], (), (), NO_WORDS

    def activate(self, chosen: LoraScales) -> None:
        """From now on these LoRAs count, and no others. They must be loaded."""
        if chosen != self.active:
            self._activate(chosen)

    def _activate(self, chosen: LoraScales) -> None:
        scales = {self._keys[name]: scale for name, scale in chosen}
        for network in (*self.unets, *self.text_encoders):
            here = {key: scale for key, scale in scales.items() if key in getattr(network, "peft_config", {})}
            set_adapter_layers(network, enabled=bool(here))
            if here:
                set_weights_and_activate_adapters(network, list(here), list(here.values()))
        self.active = chosen

    def _merge(self, name: str, path: Path) -> None:
        self._load(name, path)
        for network in (*self.unets, *self.text_encoders):
            for layer in network.modules():
                if isinstance(layer, BaseTunerLayer):
                    base = layer.get_base_layer()
                    self._before.append((base, cast(Tensor, base.weight).detach().to("cpu", copy=True)))
                    layer.merge()
            take_off(network)
        del self._keys[name]

    def _load(self, name: str, path: Path) -> None:
        key = self._keys[name] = f"lora_{len(self._keys)}"
        mixin: Any = StableDiffusionXLLoraLoaderMixin if len(self.text_encoders) > 1 else StableDiffusionLoraLoaderMixin
        try:
            levelled = level_alphas(path)
            # from a file also what it says of itself is read, which those whose alphas are tensors do not need
            state, alphas, metadata = mixin.lora_state_dict(
                str(path.parent) if levelled is None else levelled, weight_name=path.name, unet_config=self.unets[0].config,
                use_safetensors=True, local_files_only=True, return_lora_metadata=True,
            )  # fmt: skip
            more = {"network_alphas": alphas, "metadata": metadata, "adapter_name": key}
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config`")  # where a picture has several
                if any(layer.startswith("unet.") for layer in state):
                    for unet in self.unets:
                        mixin.load_lora_into_unet(widen(state, self.unets[0], unet), unet=unet, **more)
                for prefix, encoder in zip(TEXT_PREFIXES, self.text_encoders, strict=False):
                    if any(layer.startswith(f"{prefix}.") for layer in state):
                        load_into_text_encoder(encoder, state, alphas, metadata, prefix, key)
            check_worn(state, (self.unets[0], *self.text_encoders), key)
        except Exception as error:  # each library raises what it likes, some the names of all tensors
            if is_out_of_memory(error):
                raise  # it may well fit
            raise ModelSetError(
                f"The LoRA '{name}' does not fit this model set: {path} holds something else, or was trained for another "
                f"family ({textwrap.shorten(str(error), 300)}). Choose one for these models."
            ) from error
        carrying = [network for network in (*self.unets, *self.text_encoders) if key in getattr(network, "peft_config", {})]
        if not carrying:
            raise ModelSetError(
                f"The LoRA '{name}' holds nothing for a UNet or a text encoder: {path} is another kind of file."
            )
        for network in carrying:
            network.eval()  # new layers come as for training, with dropout


def widen(state: Tensors, base: Any, unet: Any) -> Tensors:
    """`state`, a LoRA of the UNet `base`, for `unet`: it knows nothing of the mask and masked image that inpainting sees."""
    known, sees = base.config["in_channels"], unet.config["in_channels"]
    first = (name for name in state if name.startswith("unet.conv_in.") and name.endswith(DOWN))
    fitting = (name for name in first if state[name].shape[1] == known)
    return state | {name: functional.pad(state[name], (0, 0, 0, 0, 0, sees - known)) for name in fitting}


def check_worn(state: Tensors, networks: Sequence[nn.Module], key: str) -> None:
    """Raise ValueError where layers of the LoRA `state` are in none of `networks`, or lack a half, which peft makes up."""
    layers, ups = (sum(name.endswith(half) for name in state) for half in (DOWN, UP))
    worn = sum(key in getattr(layer, "lora_A", ()) for network in networks for layer in network.modules())
    if worn < layers:
        raise ValueError(f"{layers - worn} of its {layers} layers are in none of these networks")
    if not layers == ups == worn:
        raise ValueError("of some of its layers one half is missing")


def load_into_text_encoder(
    encoder: nn.Module, state: Tensors, alphas: dict[str, float] | None, metadata: dict[str, Any] | None, prefix: str, key: str
) -> None:
    """As diffusers does it, but by peft itself: transformers' own way asks for a newer peft than diffusers."""

    def own(entries: dict[str, Any] | None) -> dict[str, Any] | None:
        found = {name: value for name, value in (entries or {}).items() if name.startswith(f"{prefix}.")}
        return None if entries is None else {name.removeprefix(f"{prefix}."): value for name, value in found.items()}

    layers = convert_state_dict_to_peft(convert_state_dict_to_diffusers(own(state)))
    if not hasattr(encoder, "text_model"):  # as it was once nested
        layers = {name.removeprefix("text_model."): value for name, value in layers.items()}
    ranks = {name: value.shape[1] for name, value in layers.items() if ".lora_B." in name}
    config = _create_lora_config(layers, own(alphas), own(metadata) or None, ranks, is_unet=False)
    inject_adapter_in_model(config, encoder, adapter_name=key, state_dict=layers)
    set_peft_model_state_dict(encoder, layers, key)


def take_off(network: nn.Module) -> None:
    """Every layer is again the one that it was before LoRAs were loaded."""
    recurse_remove_peft_layers(network)
    if hasattr(network, "peft_config"):
        del network.peft_config
    if hasattr(network, "_hf_peft_config_loaded"):
        network._hf_peft_config_loaded = False  # type: ignore[assignment]
