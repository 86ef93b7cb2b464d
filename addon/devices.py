"""The devices that a backend tells of."""

from collections.abc import Sequence

from ..protocol import DeviceInfo, Pong, Welcome


def devices_in(event: Welcome | Pong) -> tuple[DeviceInfo, ...]:
    """One per worker that is ready; a backend of an earlier version tells of one device alone."""
    return event.devices or ((event.device,) if event.device else ())


def rounded(devices: Sequence[DeviceInfo]) -> list[tuple[str, int]]:
    """Devices as the panel shows them: what is free to a tenth of a GB."""
    return [(device.name, device.free_bytes // 10**8) for device in devices]
