"""What a picture says about its own making: enough to make it again."""

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from .check import RequestError, check_array
from .codec import WireError, arrays_from_frames, request_from_json
from .record_text import find_text, read_text
from .refusal import Refusal
from .scene import ArrayRef, RenderRequest, arrays_of

NO_RECORD = (
    "does not say how it was made: only a picture from `beyondscene render` or the add-on can be repeated, and programs that "
    "save it again may drop what it holds."
)


class RecordError(Refusal):
    """A picture cannot be repeated. The message names the file, the reason and the next step."""


class Record(Struct, frozen=True, kw_only=True):
    """What stands in the file, as JSON.

    models: name of the model set. weights: fingerprint of each file of it (`backend/models/fingerprint.py`). schedule: of its
        base's noise. manifest: of what else it says that shapes pictures. The last two are empty in older files.
    request: as in a request.json, every choice resolved. arrays: of arrays_of, by digest, deflated, base64.
    made_with: program, torch, device and precision, for people to read. precision: of the networks, such as "bfloat16"; empty
        in older files. memory: how memory was saved, where it was short.
    """

    format: Literal[1] = 1
    models: Annotated[str, Meta(pattern=r"^[\w.-]{1,64}$")]
    weights: dict[str, str] = {}
    schedule: str = ""
    manifest: str = ""
    made_with: str = ""
    precision: Annotated[str, Meta(pattern=r"^(float32|bfloat16|float16)?$")] = ""
    memory: str = ""
    request: msgspec.Raw
    arrays: dict[str, bytes] = {}


def make_record(
    request: RenderRequest,
    arrays: dict[str, np.ndarray],
    models: str,
    weights: dict[str, str],
    made_with: str,
    memory: str = "",
    precision: str = "",
    schedule: str = "",
    manifest: str = "",
) -> Record:
    """arrays: those that the request names, by digest."""
    return Record(
        models=models,
        weights=weights,
        schedule=schedule,
        manifest=manifest,
        made_with=made_with,
        precision=precision,
        memory=memory,
        request=msgspec.Raw(msgspec.json.encode(request)),
        arrays=deflate(arrays),
    )


def encode_record(record: Record) -> str:
    """JSON in ASCII only, which every format and every program can hold."""
    return json.dumps(json.loads(msgspec.json.encode(record)))


def decode_record(text: str, path: Path) -> Record:
    """path: where `text` was found. Raises RecordError."""
    try:
        return msgspec.json.decode(text, type=Record)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RecordError(
            f"{path} says how it was made in a way that is not understood here: {error}. It may come from a newer version."
        ) from error


def restore_request(record: Record) -> tuple[RenderRequest, dict[str, np.ndarray]]:
    """The request and its arrays by digest. Raises WireError where a part is damaged, missing or of a newer version."""
    request = request_from_json(bytes(record.request))
    return request, inflate(request, record.arrays)


def deflate(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    """By digest; a mask of 2 MB becomes some KB."""
    return {digest: zlib.compress(np.ascontiguousarray(array).data) for digest, array in arrays.items()}


def inflate(request: RenderRequest, deflated: dict[str, bytes]) -> dict[str, np.ndarray]:
    """The arrays that `request` names, by digest. Raises WireError where one is damaged, missing, or fits no such picture."""
    return {array.digest: inflate_one(name, array, request, deflated) for name, array in arrays_of(request)}


def inflate_one(name: str, array: ArrayRef, request: RenderRequest, deflated: dict[str, bytes]) -> np.ndarray:
    """One of them, as arrays_of has it. Raises WireError likewise."""
    try:
        check_array(name, array, request)  # before any room is taken for it
    except RequestError as error:
        raise WireError(str(error)) from error
    try:
        data = zlib.decompressobj().decompress(deflated[array.digest], array.size_bytes)
    except (KeyError, zlib.error) as error:
        raise WireError(f"{name} is not in the picture, though its request names it") from error
    return arrays_from_frames([array], [data])[array.digest]


def weights_that_differ(record: Record, weights: dict[str, str]) -> list[str]:
    """Names of the files that are not what they were, or are missing on one side. weights: of the model set here."""
    return sorted(name for name in record.weights.keys() | weights.keys() if record.weights.get(name) != weights.get(name))


def read_record(path: Path, content: bytes | None = None) -> Record:
    """What the PNG or OpenEXR at `path` says about its making. Raises RecordError with one sentence.

    content: of the file, where it is packed into a .blend and need not be at `path`.
    """
    try:
        text = read_text(path) if content is None else find_text(io.BytesIO(content))
    except (ValueError, IndexError, zlib.error, struct.error) as error:
        raise RecordError(f"{path} cannot be read as a picture: {error}") from error
    except OSError as error:
        next_step = "choose another picture, or put the file or its drive right"
        raise RecordError(f"{path} cannot be read ({error.strerror}): {next_step}.") from error
    if text is None:
        raise RecordError(f"{path} {NO_RECORD}")
    return decode_record(text, path)
