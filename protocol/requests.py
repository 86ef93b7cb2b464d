"""What a client may ask of the gateway."""

from typing import Annotated

from msgspec import Meta

from .codec import HEADER_LIMIT_BYTES, Frames
from .messages import (
    CREDIT_CHUNKS,
    FRAME_LIMIT_BYTES,
    MESSAGE_LIMIT_BYTES,
    MESSAGE_LIMIT_FRAMES,
    Bytes,
    Count,
    JobId,
    Message,
    PictureFormat,
)
from .scene import ArrayRef, Digest, Label, RenderRequest

MOST_JOBS = 1000  # that a backend lists at once


class Hello(Message, frozen=True, kw_only=True):
    """The first message of a connection."""

    versions: tuple[Count, Count]  # lowest and highest VERSION that the client speaks
    client: Label  # a label for logs, e.g. "blender 4.5.1"


class Submit(Message, frozen=True, kw_only=True):
    """Render this. Sending it twice with one job_id is harmless."""

    job_id: JobId  # UUIDv7 made by the client
    request: RenderRequest
    models: Label = "embedded"  # name of a model set that `Welcome` listed
    arrays: tuple[ArrayRef, ...] = ()  # one extra frame each, in this order
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0  # of the jobs that wait the highest goes first, then the oldest
    picture_format: PictureFormat = "png"  # an older backend makes a PNG of any: `Finished` says which it is


class Cancel(Message, frozen=True, kw_only=True):
    """Stop this job, waiting or running."""

    job_id: JobId


class Subscribe(Message, frozen=True, kw_only=True):
    """Send the events of a job from `since_seq` on, also those that happened before."""

    job_id: JobId
    since_seq: Count = 0


class Fetch(Message, frozen=True, kw_only=True):
    """Send `chunks` pieces of the result of a job, from `offset` on: the client's credit for that result."""

    job_id: JobId
    offset: Bytes
    chunks: Annotated[int, Meta(ge=1, le=CREDIT_CHUNKS)] = CREDIT_CHUNKS


class Received(Message, frozen=True, kw_only=True):
    """The picture of this job is whole on the client's disk. Said where `Welcome` asks for it; no answer comes.

    digest: of the file, hex, as in `Finished`.
    """

    job_id: JobId
    digest: Digest


class Ping(Message, frozen=True, kw_only=True):
    """Are you there?"""


class ListJobs(Message, frozen=True, kw_only=True):
    """Which jobs are there? The newest `limit`, or one."""

    limit: Annotated[int, Meta(ge=1, le=MOST_JOBS)] = 100
    job_id: JobId | None = None


class Estimate(Message, frozen=True, kw_only=True):
    """What would this picture take? Masks need not come along: the poses' boxes stand for them."""

    key: Label  # comes back with the answer
    request: RenderRequest
    models: Label = "embedded"


Request = Hello | Submit | Cancel | Subscribe | Fetch | Received | Ping | ListJobs | Estimate


def too_large(frames: Frames) -> str:
    """Why a backend would not take this message, or nothing. It closes the connection at such a frame, without a word."""
    sizes = [memoryview(frame).nbytes for frame in frames]
    if sizes[1] > HEADER_LIMIT_BYTES:
        return (
            f"The texts and joints of the request have {sizes[1]} bytes, but a backend takes {HEADER_LIMIT_BYTES}: write "
            "shorter prompts, or switch some characters off."
        )
    if max(sizes) > FRAME_LIMIT_BYTES or sum(sizes) > MESSAGE_LIMIT_BYTES or len(frames) > MESSAGE_LIMIT_FRAMES:
        return (
            f"The request has {len(frames) - 2} masks and pictures of {sum(sizes)} bytes, the largest of {max(sizes)}, but a "
            f"backend takes {MESSAGE_LIMIT_FRAMES - 2} of {MESSAGE_LIMIT_BYTES}, each of {FRAME_LIMIT_BYTES} at most: send "
            "smaller ones, of half the picture's width and height, or fewer."
        )
    return ""
