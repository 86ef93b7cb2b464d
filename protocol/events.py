"""What the gateway tells a client."""

from msgspec import Struct

from .messages import Bytes, Count, Fraction, JobId, JobState, Message, Seconds, Sentence, Stage
from .scene import Digest, Label, Prompt, Side
from .settings import HiddenJoints


class ModelSetInfo(Struct, frozen=True, kw_only=True):
    """One model set that the backend can use.

    pose_line_width_px: of a skeleton's limbs in a picture whose short side is the training resolution; 0 where the backend does
    not say. pose_hands, pose_face, pose_feet: whether skeletons have them. hidden_joints: of its own choice.
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
    hidden_joints: HiddenJoints = "keep"


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
    waiting_jobs: Count = 100  # of this client; more are refused, `later`
    receipts: bool = False  # whether the backend understands `Received`


class Rejected(Message, frozen=True, kw_only=True):
    """The connection cannot be: the versions do not meet."""

    versions: tuple[Count, Count]
    message: Sentence


class Refused(Message, frozen=True, kw_only=True):
    """A request was not carried out."""

    message: Sentence
    job_id: JobId | None = None
    greet: bool = False  # nothing said on this connection was heard: say Hello, then everything again
    later: bool = False  # a limit is reached for now: the same request may be taken once jobs have ended or there is room


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
    remarks: tuple[Sentence, ...] = ()  # what of it is not as it was asked for


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
    owner: Label = ""  # name of the client that submitted it; "local" for whoever started the backend


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
