"""What gateway, worker and client do with bytes from outside, as far as that needs no socket."""

from collections.abc import Sequence
from typing import Literal

from beyondscene.protocol import (
    Decoder,
    Event,
    Order,
    Report,
    Request,
    RequestError,
    Submit,
    WireError,
    arrays_from_frames,
    check_request,
)

UNIONS = tuple(map(Decoder, (Request, Event, Order, Report)))

Outcome = Literal["understood", "inadmissible", "refused"]


def take(frames: Sequence[bytes]) -> Outcome:
    """Decode as each side would. A submit that is understood goes through the checks that come next. Anything but a refusal
    that is meant to be one is let through."""
    understood = False
    for decode in UNIONS:
        try:
            message, payload = decode(frames)
        except WireError:
            continue
        understood = True
        if isinstance(message, Submit):
            try:
                check_request(message.request)
                arrays_from_frames(message.arrays, payload)
            except (WireError, RequestError):
                return "inadmissible"
    return "understood" if understood else "refused"
