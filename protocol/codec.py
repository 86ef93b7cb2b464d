"""Structs and arrays to frames and files, and back. Nothing else decodes bytes that came from outside."""

import codecs
import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from .explain import explain
from .messages import JobId, Message
from .refusal import Refusal
from .scene import DIGEST, REQUEST_FORMAT, ArrayRef, RenderRequest, arrays_of
from .whole import whole_file

MAGIC = b"BSZ\x01"  # three letters and the major version, checked before anything is decoded
HEADER_LIMIT_BYTES = 4 * 1024 * 1024  # 256 characters with hands and faces: 2.4 MiB
WHERE_THE_FORM_IS = "docs/request.schema.json has the form; `beyondscene export` writes one."

T = TypeVar("T")


class WireError(Refusal):
    """Bytes from outside are not a message of this protocol."""


Frames = list[bytes | memoryview]


def encode(message: Message, payload: Sequence[bytes | memoryview] = ()) -> Frames:
    """Frames of a message: magic, MessagePack header, payload frames as they are."""
    return [MAGIC, msgspec.msgpack.encode(message), *payload]


class _OfJob(Struct, frozen=True):
    job_id: JobId | None = None


class _OfFormat(Struct, frozen=True):
    format: int = REQUEST_FORMAT


class Decoder:
    """Decodes frames into one union of messages, with headers of up to `limit_bytes`.

    >>> Decoder(Request)(frames)  # -> (message, payload frames)
    """

    def __init__(self, union: Any, limit_bytes: int = HEADER_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._decode = msgspec.msgpack.Decoder(union).decode

    def __call__(self, frames: Sequence[bytes | memoryview]) -> tuple[Any, list[bytes | memoryview]]:
        """Raises WireError, and nothing else, whatever the bytes are."""
        if len(frames) < 2 or bytes(frames[0]) != MAGIC:
            raise WireError("not a beyondscene message of this major version: update the older side")
        if len(frames[1]) > self._limit_bytes:
            raise WireError(f"the header has {len(frames[1])} bytes, the limit is {self._limit_bytes}")
        try:
            return self._decode(frames[1]), list(frames[2:])
        except Exception as error:  # also UnicodeDecodeError and RecursionError, which are no msgspec errors
            raise WireError(str(error)) from error


def find_job_id(frames: Sequence[bytes | memoryview]) -> str | None:
    """The job that a message is about which may be no message, so that whoever sent it is told which one fails."""
    if len(frames) < 2 or len(frames[1]) > HEADER_LIMIT_BYTES:
        return None
    try:
        return msgspec.msgpack.decode(frames[1], type=_OfJob).job_id
    except Exception:
        return None


def describe_array(array: np.ndarray) -> ArrayRef:
    """The reference under which `array` travels. Raises WireError for a dtype or a shape that is not on the wire."""
    data = np.ascontiguousarray(array)
    try:
        reference = {"digest": digest_of(data.data.cast("B")), "dtype": str(data.dtype), "shape": data.shape}
        return msgspec.convert(reference, ArrayRef)
    except msgspec.ValidationError as error:
        raise WireError(f"an array of dtype {data.dtype} and shape {data.shape} cannot travel: {error}") from error


def arrays_from_frames(references: Sequence[ArrayRef], frames: Sequence[bytes | memoryview]) -> dict[str, np.ndarray]:
    """Arrays by digest, read-only and without a copy. Raises WireError where count, length or digest do not fit."""
    if len(references) != len(frames):
        raise WireError(f"{len(references)} arrays are announced, {len(frames)} came")
    arrays = {}
    for reference, frame in zip(references, frames, strict=True):
        if len(frame) != reference.size_bytes:
            raise WireError(f"an array of {reference.size_bytes} bytes is announced, {len(frame)} came")
        if digest_of(frame) != reference.digest:
            raise WireError("an array was damaged on the way: its digest differs from the announced one")
        arrays[reference.digest] = np.frombuffer(frame, reference.dtype).reshape(reference.shape)
    return arrays


def digest_of(data: bytes | memoryview) -> str:
    """BLAKE2b-256, hex."""
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def digest_of_file(path: Path) -> str:
    """As digest_of, without the whole file in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def request_to_json(request: RenderRequest) -> bytes:
    """The request as an indented JSON document, every setting spelled out."""
    return msgspec.json.format(msgspec.json.encode(request), indent=1) + b"\n"


def request_from_json(data: bytes) -> RenderRequest:
    """Raises WireError for anything but a request of this version, also for a field it does not know: in a file that
    people write, an unknown name is a typing slip, and a setting must not be dropped in silence.

    A byte-order mark is passed over, and so is `$schema` at the top, which tells editors where the rules are.
    """
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise WireError("not a render request: it is not in UTF-8, so save it in that encoding") from error
    try:
        if (written := msgspec.json.decode(data, type=_OfFormat).format) > REQUEST_FORMAT:
            raise WireError(
                f"a render request of format {written}, from a newer version than this, which reads {REQUEST_FORMAT}: update it"
            )
        request = msgspec.json.decode(data, type=RenderRequest)
        given = json.loads(data, object_pairs_hook=refuse_twice, parse_int=str)  # Python reads none of 4301 digits
        given.pop("$schema", None)
        refuse_unknown(given, msgspec.to_builtins(request), "$")
    except (msgspec.DecodeError, RecursionError) as error:
        raise WireError(f"not a render request: {explain(str(error))}") from error
    return request


def refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises WireError where it has a name twice, of which a decoder would keep either."""
    given = dict(pairs)
    if len(given) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise WireError(f"not a render request: an object has the field `{twice}` twice, so leave one out")
    return given


def refuse_unknown(given: Any, understood: Any, path: str) -> None:
    if isinstance(given, dict) and isinstance(understood, dict):
        for name, value in given.items():
            if name not in understood:
                raise WireError(f"not a render request: unknown field `{name}` at `{path}`; known are {', '.join(understood)}")
            refuse_unknown(value, understood[name], f"{path}.{name}")
    elif isinstance(given, list) and isinstance(understood, list | tuple):
        for index, (left, right) in enumerate(zip(given, understood, strict=True)):
            refuse_unknown(left, right, f"{path}[{index}]")


def arrays_folder(path: Path) -> Path:
    """Where the arrays of the request at `path` lie."""
    return path.with_name(f"{path.name}.arrays")


def save_request(path: Path, request: RenderRequest, arrays: dict[str, np.ndarray]) -> None:
    """Write `path` and, if there are arrays, the folder `<path>.arrays` with one `<digest>.npy` each; others so named go."""
    folder = arrays_folder(path)
    if arrays:
        folder.mkdir(parents=True, exist_ok=True)
        for digest, array in arrays.items():
            data = io.BytesIO()
            np.save(data, array, allow_pickle=False)  # to a file it would hide why that cannot be written
            with whole_file(folder / f"{digest}.npy") as partial:
                partial.write_bytes(data.getbuffer())
    with whole_file(path) as partial:  # somebody's only copy may lie there
        partial.write_bytes(request_to_json(request))
    for file in folder.glob("*.npy"):  # only now, when no request names them
        if re.fullmatch(DIGEST, file.stem) and file.stem not in arrays:
            file.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def load_request(path: Path) -> tuple[RenderRequest, dict[str, np.ndarray]]:
    """Read what save_request wrote. Raises WireError, which names the file."""
    try:
        request = request_from_json(path.read_bytes())
    except FileNotFoundError as error:
        raise WireError(f"There is no file {path}: name an existing .blend or request.json.") from error
    except OSError as error:
        raise WireError(f"{path} cannot be read ({error.strerror}): name a .blend or request.json that can.") from error
    except WireError as error:
        raise WireError(f"{path} is {error}. {WHERE_THE_FORM_IS}") from error
    arrays, folder = {}, arrays_folder(path)
    for name, wanted in arrays_of(request):
        file = folder / f"{wanted.digest}.npy"
        try:
            array = np.load(file, allow_pickle=False)
            reference = describe_array(array)
        except FileNotFoundError as error:
            raise WireError(
                f"{name} is not in {folder}: the arrays of {path.name} belong there, so copy that folder along with it, under "
                "that name."
            ) from error
        except OSError:
            raise
        except Exception as error:  # numpy raises what it likes for a file that is damaged
            raise WireError(f"{name} cannot be read from {file} ({error}): export again") from error
        if reference != wanted:
            raise WireError(f"{name} is not what the request names, in {file}: export again")
        arrays[wanted.digest] = array
    return request, arrays
