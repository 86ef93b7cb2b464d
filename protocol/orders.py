"""What the gateway and its worker processes tell each other.

Every word of a job carries the attempt, so that a worker which was given up for dead can publish nothing.
"""

from .events import DeviceInfo, StageTime
from .messages import Bytes, Count, Fraction, JobId, Message, Seconds, Sentence, Stage
from .scene import ArrayRef, Digest, Label, RenderRequest, Side

PREVIEW_LIMIT_BYTES = 64 * 1024  # a larger one is not passed on


class RunJob(Message, frozen=True, kw_only=True):
    """Render this; the arrays follow as extra frames."""

    job_id: JobId
    attempt: Count
    request: RenderRequest
    models: Label
    models_folder: Sentence = ""  # where the gateway found that set; empty where the worker must know
    arrays: tuple[ArrayRef, ...] = ()
    result_path: Sentence  # where the worker writes the picture; chosen by the gateway
    checkpoints_folder: Sentence = ""  # what earlier attempts have kept is here, and what this one keeps goes here
    sparing: bool = False  # an earlier attempt was killed for want of memory


class StopJob(Message, frozen=True, kw_only=True):
    """Stop this job at the next step."""

    job_id: JobId
    attempt: Count


class Shutdown(Message, frozen=True, kw_only=True):
    """Leave."""


Order = RunJob | StopJob | Shutdown


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


class JobProgress(Message, frozen=True, kw_only=True):
    """Progress of a job, as in Progressed."""

    job_id: JobId
    attempt: Count
    stage: Stage
    level: Count = 0
    levels: Count = 0
    step: Count = 0
    steps: Count = 0
    fraction: Fraction


class JobPreview(Message, frozen=True, kw_only=True):
    """A preview, as in Previewed; the JPEG is the extra frame."""

    job_id: JobId
    attempt: Count
    width: Side
    height: Side


class JobCheckpoint(Message, frozen=True, kw_only=True):
    """A checkpoint is on the disk: what was done until then is not done again."""

    job_id: JobId
    attempt: Count


class JobDone(Message, frozen=True, kw_only=True):
    """The picture is written, flushed and in place."""

    job_id: JobId
    attempt: Count
    width: Side
    height: Side
    media_type: Label
    size_bytes: Bytes
    digest: Digest
    times: tuple[StageTime, ...] = ()
    remarks: tuple[Sentence, ...] = ()


class JobFailed(Message, frozen=True, kw_only=True):
    """The job cannot be done; the worker goes on."""

    job_id: JobId
    attempt: Count
    message: Sentence


class DiskFull(Message, frozen=True, kw_only=True):
    """There was no room on the disk for what the job must write; the worker goes on."""

    job_id: JobId
    attempt: Count


class JobStopped(Message, frozen=True, kw_only=True):
    """The job was stopped as ordered."""

    job_id: JobId
    attempt: Count


Report = Ready | Heartbeat | JobProgress | JobPreview | JobCheckpoint | JobDone | JobFailed | DiskFull | JobStopped
