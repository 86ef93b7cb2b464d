"""How sparingly networks are run where memory is short."""

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Thrift:
    """The picture does not depend on it, beyond rounding.

    name: for the record of a picture; empty for the usual way.
    view_batch: views that go through the network at once.
    vae_window_cells: side of an autoencoder's tile with its margins, in latents; at 160 SDXL's decoder holds 1.5 GiB of one.
    vae_held_bytes: by all tiles that wait for each other.
    None of these: as much as the device has room for.
    offload: the large networks wait in host memory and come to the device a layer at a time.
    """

    name: str = ""
    view_batch: int | None = None
    vae_window_cells: int | None = None
    vae_held_bytes: int | None = None
    offload: bool = False


AMPLE = Thrift()

# Each rung needs less memory than the one before it, and more time.
LADDER = (
    AMPLE,
    Thrift("views one by one", 1),
    Thrift("views one by one, small tiles", 1, 96, 256 * MIB),
    Thrift("views one by one, small tiles, networks offloaded", 1, 96, 256 * MIB, offload=True),
)
