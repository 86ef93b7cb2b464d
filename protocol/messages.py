"""The words that clients, gateway and workers exchange; each is one frozen, tagged struct.

`Request`: client to gateway. `Event`: gateway to client. `Order`: gateway to worker. `Report`: worker to gateway.
New fields need defaults; no field ever changes its type or its meaning within one major VERSION.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from .scene import ArrayRef, Digest, Label, Prompt, RenderRequest, Side

VERSION = 1
CHUNK_BYTES = 1024 * 1024
CREDIT_CHUNKS = 8

Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Bytes = Annotated[int, Meta(ge=0, le=2**48)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
JobId = Annotated[  # names files: the length is bounded because `$` would let a final newline pass
    str, Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", max_length=36)
]
Sentence = Annotated[str, Meta(max_length=4000)]

PictureFormat = Literal["png", "tiff", "exr"]  # and the suffix of its file
JobState = Literal["queued", "running", "paused", "finished", "failed", "cancelled"]
Stage = Literal["load", "instances", "composite", "inpaint", "tone", "enlarge", "decode", "write"]


class Message(Struct, frozen=True, kw_only=True, tag=True):
    """Base of everything on the wire: the tag is the class name."""


# What a client may ask.


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
    """Send `chunks` pieces of the result of a job, from `offset` on: the client's credit."""

    job_id: JobId
    offset: Bytes
    chunks: Annotated[int, Meta(ge=1, le=CREDIT_CHUNKS)] = CREDIT_CHUNKS


class Ping(Message, frozen=True, kw_only=True):
    """Are you there?"""


class ListJobs(Message, frozen=True, kw_only=True):
    """Which jobs are there? The newest `limit`, or one."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    job_id: JobId | None = None


class Estimate(Message, frozen=True, kw_only=True):
    """What would this picture take? Masks need not come along: the poses' boxes stand for them."""

    key: Label  # comes back with the answer
    request: RenderRequest
    models: Label = "embedded"


Request = Hello | Submit | Cancel | Subscribe | Fetch | Ping | ListJobs | Estimate


# What the gateway tells a client.


class ModelSetInfo(Struct, frozen=True, kw_only=True):
    """One model set that the backend can use.

    pose_line_width_px: of a skeleton's limbs in a picture whose short side is the training resolution; 0 where the backend does
    not say. pose_hands, pose_face, pose_feet: whether skeletons have them.
    """

    name: Label
    training_resolution_px: Side
    missing: tuple[Label, ...] = ()  # roles without files; a set with any cannot render
    steps: Count = 0  # of its own choice; 0 where the backend does not say
    loras: tuple[Label, ...] = ()  # that a request may name with it
    few_steps: Count = 0  # how many that are, where a request asks for them; 0 where it may not
    pose_line_width_px: Count = 0
    pose_hands: bool = False
    pose_face: bool = False
    pose_feet: bool = False


class DeviceInfo(Struct, frozen=True, kw_only=True):
    """Where the worker computes. Bytes are 0 while unknown."""

    kind: Label  # "cpu", "cuda", "mps"
    name: Label
    total_bytes: Bytes = 0
    free_bytes: Bytes = 0


class Welcome(Message, frozen=True, kw_only=True):
    """The connection stands."""

    version: Count
    app_version: Label
    boot_id: Label  # changes with each start of the backend
    models: tuple[ModelSetInfo, ...]
    device: DeviceInfo | None = None  # the first of `devices`; None until a worker has reported
    devices: tuple[DeviceInfo, ...] = ()  # of all workers that are ready


class Rejected(Message, frozen=True, kw_only=True):
    """The connection cannot be: the versions do not meet."""

    versions: tuple[Count, Count]
    message: Sentence


class Refused(Message, frozen=True, kw_only=True):
    """A request was not carried out."""

    message: Sentence
    job_id: JobId | None = None
    greet: bool = False  # nothing said on this connection was heard: say Hello, then everything again


class Accepted(Message, frozen=True, kw_only=True):
    """The job is in the queue."""

    job_id: JobId
    seq: Count
    position: Count  # jobs before it


class Started(Message, frozen=True, kw_only=True):
    """A worker has taken the job."""

    job_id: JobId
    seq: Count
    attempt: Count
    device: DeviceInfo


class Progressed(Message, frozen=True, kw_only=True):
    """How far the job is. Newest wins; earlier ones may be dropped."""

    job_id: JobId
    seq: Count
    stage: Stage
    level: Count = 0  # 0 the base image, then one per doubling
    levels: Count = 0
    step: Count = 0
    steps: Count = 0
    fraction: Fraction  # of the whole job, never decreasing
    remaining_s: Seconds | None = None
    label: Sentence = ""  # e.g. the name of the person being drawn


class Previewed(Message, frozen=True, kw_only=True):
    """A small JPEG of the picture so far, in the extra frame. Newest wins."""

    job_id: JobId
    seq: Count
    width: Side
    height: Side


class StageTime(Struct, frozen=True, kw_only=True):
    stage: Stage
    level: Count = 0
    seconds: Seconds


class Stopping(Message, frozen=True, kw_only=True):
    """The wish to cancel a running job is recorded; whatever the worker still does, Cancelled will follow."""

    job_id: JobId
    seq: Count


class Paused(Message, frozen=True, kw_only=True):
    """The backend's disk is too full for the job; it goes on by itself once there is room."""

    job_id: JobId
    seq: Count
    needed_bytes: Bytes  # that must be free
    free_bytes: Bytes
    message: Sentence


class Finished(Message, frozen=True, kw_only=True):
    """The picture is ready to be fetched."""

    job_id: JobId
    seq: Count
    width: Side
    height: Side
    media_type: Label  # "image/png"
    size_bytes: Bytes
    digest: Digest  # BLAKE2b-256 of the file, hex
    times: tuple[StageTime, ...] = ()


class Failed(Message, frozen=True, kw_only=True):
    """The job ended without a picture; the message says why and what to do next."""

    job_id: JobId
    seq: Count
    message: Sentence


class Cancelled(Message, frozen=True, kw_only=True):
    """The job was stopped at a client's wish."""

    job_id: JobId
    seq: Count


class Chunk(Message, frozen=True, kw_only=True):
    """A piece of the result, in the extra frame."""

    job_id: JobId
    offset: Bytes
    size_bytes: Bytes  # of the whole file


class Pong(Message, frozen=True, kw_only=True):
    """Here I am."""

    queued: Count = 0
    running: Count = 0
    device: DeviceInfo | None = None
    devices: tuple[DeviceInfo, ...] = ()


class JobInfo(Struct, frozen=True, kw_only=True):
    """One job as it stands."""

    job_id: JobId
    state: JobState
    attempt: Count  # 0 before its first start
    width: Side
    height: Side
    prompt: Prompt  # the beginning of the scene's
    fraction: Fraction = 0.0  # of the work done


class JobsListed(Message, frozen=True, kw_only=True):
    """The jobs that were asked for, in order of arrival."""

    jobs: tuple[JobInfo, ...]


class Canvas(Struct, frozen=True, kw_only=True):
    """The base image or a level: its size in pixels, and how many views of it are denoised."""

    width: Side
    height: Side
    views: Count


class Estimated(Message, frozen=True, kw_only=True):
    """What the picture of an `Estimate` would take."""

    key: Label
    canvases: tuple[Canvas, ...] = ()  # the base image, then each level
    people: Count = 0  # drawn alone before
    evaluations: Count = 0  # of the network; guided pairs count once
    seconds: Seconds | None = None  # as earlier pictures of these models took on this device; None before the first
    memory_bytes: Bytes = 0  # of the backend's machine, at least
    obstacle: Sentence = ""  # why it cannot be rendered, and the next step; empty where it can


Event = (
    Welcome
    | Rejected
    | Refused
    | Accepted
    | Started
    | Progressed
    | Previewed
    | Stopping
    | Paused
    | Finished
    | Failed
    | Cancelled
    | Chunk
    | Pong
    | JobsListed
    | Estimated
)


# Between the gateway and its worker processes. Every word of a job carries the attempt, so that a worker which was
# given up for dead can publish nothing.


class Work(Message, frozen=True, kw_only=True):
    """Render this; the arrays follow as extra frames."""

    job_id: JobId
    attempt: Count
    request: RenderRequest
    models: Label
    models_folder: Sentence = ""  # where the gateway found that set; empty where the worker must know
    arrays: tuple[ArrayRef, ...] = ()
    result_path: Sentence  # where the worker writes the picture; chosen by the gateway
    checkpoints_folder: Sentence = ""  # what earlier attempts have kept is here, and what this one keeps goes here


class Halt(Message, frozen=True, kw_only=True):
    """Stop this job at the next step."""

    job_id: JobId
    attempt: Count


class Shutdown(Message, frozen=True, kw_only=True):
    """Leave."""


Order = Work | Halt | Shutdown


class Ready(Message, frozen=True, kw_only=True):
    """The worker is up."""

    device: DeviceInfo
    pid: Count
    devices: tuple[Label, ...] = ()  # all devices of this kind on the machine, as torch names them


class Heartbeat(Message, frozen=True, kw_only=True):
    """The worker lives; sent every second, also while a kernel runs or the job is stuck."""

    device: DeviceInfo | None = None
    quiet_s: Seconds | None = None  # since the job last gave a sign of getting on; None while there is none
    longest_quiet_s: Seconds = 0.0  # between two signs of this job so far


class Advanced(Message, frozen=True, kw_only=True):
    """Progress of a job, as in Progressed."""

    job_id: JobId
    attempt: Count
    stage: Stage
    level: Count = 0
    levels: Count = 0
    step: Count = 0
    steps: Count = 0
    fraction: Fraction
    label: Sentence = ""


class Sketched(Message, frozen=True, kw_only=True):
    """A preview, as in Previewed; the JPEG is the extra frame."""

    job_id: JobId
    attempt: Count
    width: Side
    height: Side


class Kept(Message, frozen=True, kw_only=True):
    """A checkpoint is on the disk: what was done until then is not done again."""

    job_id: JobId
    attempt: Count


class Done(Message, frozen=True, kw_only=True):
    """The picture is written, flushed and in place."""

    job_id: JobId
    attempt: Count
    width: Side
    height: Side
    media_type: Label
    size_bytes: Bytes
    digest: Digest
    times: tuple[StageTime, ...] = ()


class Broke(Message, frozen=True, kw_only=True):
    """The job cannot be done; the worker goes on."""

    job_id: JobId
    attempt: Count
    message: Sentence


class DiskFull(Message, frozen=True, kw_only=True):
    """There was no room on the disk for what the job must write; the worker goes on."""

    job_id: JobId
    attempt: Count


class Halted(Message, frozen=True, kw_only=True):
    """The job was stopped as ordered."""

    job_id: JobId
    attempt: Count


Report = Ready | Heartbeat | Advanced | Sketched | Kept | Done | Broke | DiskFull | Halted
