"""What the words have in common that clients, gateway and workers exchange; each is one frozen, tagged struct.

requests.py: client to gateway. events.py: gateway to client. orders.py: `Order`, gateway to worker, and `Report`, back.
New fields need defaults; no field ever changes its type or its meaning within one major VERSION.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

VERSION = 1
CHUNK_BYTES = 1024 * 1024
CREDIT_CHUNKS = 8
FRAME_LIMIT_BYTES = 64 * 1024 * 1024  # of what a client sends: a mask of 8192x8192
MESSAGE_LIMIT_BYTES = 512 * 1024 * 1024
MESSAGE_LIMIT_FRAMES = 260  # magic, header and a mask for each of 256 people
SENTENCE_LIMIT = 4000  # characters

Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Bytes = Annotated[int, Meta(ge=0, le=2**48)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
JobId = Annotated[  # names files: the length is bounded because `$` would let a final newline pass
    str, Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", max_length=36)
]
Sentence = Annotated[str, Meta(max_length=SENTENCE_LIMIT)]

PictureFormat = Literal["png", "tiff", "exr"]  # and the suffix of its file
JobState = Literal["queued", "running", "paused", "finished", "failed", "cancelled"]
Stage = Literal["load", "instances", "composite", "inpaint", "tone", "enlarge", "decode", "write"]
STAGES: dict[Stage, str] = {
    "load": "loading the models",
    "instances": "drawing each person",
    "composite": "placing the people",
    "inpaint": "drawing the background",
    "tone": "matching the tone",
    "enlarge": "enlarging",
    "decode": "decoding",
    "write": "writing the file",
}  # as whoever waits is told of them


class Message(Struct, frozen=True, kw_only=True, tag=True):
    """Base of everything on the wire: the tag is the class name."""
