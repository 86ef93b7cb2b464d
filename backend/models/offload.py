"""Networks that take turns on the device: whatever does not work waits in host memory, for devices too small for all."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from accelerate import cpu_offload
from accelerate.hooks import remove_hook_from_submodules
from torch import nn

from .device_memory import is_out_of_memory
from .memory_saving import Offload

HOST = torch.device("cpu")
TAKEN_WHOLE = [nn.MultiheadAttention.__name__]  # whose forward reads the weights of a layer within, without calling that


class WeightsDoNotFit(MemoryError):  # noqa: N818  (reads as what it is)
    """The device has no room for the networks that are to stand there at once, whatever else is saved."""


@contextmanager
def as_weights_do_not_fit() -> Iterator[None]:
    """Within, where memory runs out it is for the networks alone."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise WeightsDoNotFit(str(error)) from None


class DevicePlacement:
    """Which networks stand on the device.

    "none": all of them, always. "networks": those that work, whole. "layers": the large ones come a layer at a time, each time
    anew, so that the device holds little more than what is computed; slowest.
    """

    def __init__(
        self, device: torch.device, networks: Iterable[nn.Module], large: Iterable[nn.Module], offload: Offload
    ) -> None:
        """large: those of `networks` that are streamed by layers."""
        self.device = device
        self.offload: Offload = "none"
        self._all = list(dict.fromkeys(networks))
        self._large = list(large)
        self._up: list[nn.Module] = []
        self.change(offload)

    # in a tensor that is made in inference mode accelerate's hooks cannot put the weights back outside of it
    @torch.inference_mode(False)
    def change(self, offload: Offload) -> None:
        """From now on offload as `offload` says; the pixels stay the same. May be called whenever no network works.

        Raises WeightsDoNotFit where the device has no room for all of them and they are to be there.
        """
        self.send_to_host()
        self.offload = "networks"  # how they stand now, should there be no room for all
        if offload == "none":
            with as_weights_do_not_fit():
                for network in self._all:
                    self._put_on_device(network)
        self.offload = offload

    @torch.inference_mode(False)
    def bring(self, *working: nn.Module) -> None:
        """These networks are ready to work on the device; where it does not hold all, the others go to host memory first.

        Raises WeightsDoNotFit where there is no room for these.
        """
        if self.offload == "none":
            return
        self.send_to_host(but=working)
        for network in dict.fromkeys(working):
            if network in self._up:
                continue
            if self.offload == "layers" and network in self._large:
                self._up.append(network)
                cpu_offload(network, self.device, preload_module_classes=TAKEN_WHOLE)
            else:
                with as_weights_do_not_fit():
                    self._put_on_device(network)

    def _put_on_device(self, network: nn.Module) -> None:
        self._up.append(network)  # before, so that it is sent to the host where there was room for a part of it only
        network.to(self.device)

    def resident_bytes(self, *working: nn.Module) -> int:
        """What networks take of the device while these work."""
        there: Iterable[nn.Module] = self._all if self.offload == "none" else dict.fromkeys(working)
        streamed = self._large if self.offload == "layers" else ()
        return sum(weight_bytes(network) for network in there if network not in streamed)

    @property
    def weights_bytes(self) -> int:
        """What all networks take, wherever they stand."""
        return sum(map(weight_bytes, self._all))

    def release(self) -> None:
        """No network carries anything of ours, so that its layers may be exchanged."""
        if self.offload != "none":
            self.send_to_host()

    @torch.inference_mode(False)
    def send_to_host(self, but: Iterable[nn.Module] = ()) -> None:
        """All networks but these wait in host memory, as they were before anything was done to them here."""
        stay = list(but)
        leaving = [network for network in self._up if network not in stay]
        for network in leaving:
            remove_hook_from_submodules(network)
            network.to(HOST)
        self._up = [network for network in self._up if network in stay]
        if leaving and self.device.type == "cuda":
            torch.cuda.empty_cache()


def weight_bytes(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
