"""Messages damaged in the ways that decoders stumble over, made from the golden ones."""

import random
from collections.abc import Sequence
from pathlib import Path

from beyondscene.protocol import ArrayRef, Submit, encode, request_from_json
from beyondscene.protocol.codec import MAGIC

GOLDEN = Path(__file__).parents[1] / "golden"
FRAME = bytes(64)  # of the one array in the corpus

# MessagePack that promises what does not come, is no number, is no text, or has the wrong type
TROUBLE = (
    *(kind + b"\xff\xff\xff\xff" for kind in (b"\xdd", b"\xdf", b"\xc6", b"\xdb")),  # 2^32 - 1 things are to come
    *(b"\xcb" + bits + bytes(6) for bits in (b"\x7f\xf8", b"\x7f\xf0", b"\xff\xf0")),  # NaN and the infinities
    b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\0", b"\xff", b"\xc0", b"\xc2", b"\xc1", b"\x80", b"\x90",
    b"\xa1\xff", b"\xa2\xc3\x28", b"\xa3\xed\xa0\x80",  # no UTF-8
    b"\xd6\xff" + bytes(4), b"\xc7\x0c\xff" + bytes(12),  # extensions
)  # fmt: skip


def corpus() -> list[list[bytes]]:
    """Every golden message, and a request with an array."""
    messages = [[MAGIC, path.read_bytes()] for path in sorted(GOLDEN.glob("v1-*.msgpack"))]
    request = request_from_json(b'{"width": 64, "height": 64, "prompt": "a plaza"}')
    digest = "0eb923b0cbd24df54401d998531feead35a47a99f4deed205de4af81120f9761"
    mask = ArrayRef(digest=digest, dtype="uint8", shape=(8, 8))
    submit = Submit(job_id="01890a5d-ac96-774b-bcce-b302099a8057", request=request, arrays=(mask,))
    return [*messages, [bytes(frame) for frame in encode(submit, [FRAME])]]


def mutated(dice: random.Random, messages: Sequence[list[bytes]]) -> list[bytes]:
    """One of `messages`, damaged once or several times."""
    magic, header, *payload = messages[int(dice.random() * len(messages))]
    for _ in range(1 + int(dice.random() ** 3 * 6)):  # mostly one wound, so that the decoder gets far
        header = wounded(dice, header, messages)
    if dice.random() < 0.02:
        return [magic, header, *[FRAME] * int(dice.random() * 400)]
    if dice.random() < 0.02:
        return dice.choice([[], [magic], [dice.randbytes(4), header], [header, magic], [b"", header], [magic, b""]])
    return [magic, header, *payload]


def wounded(dice: random.Random, header: bytes, messages: Sequence[list[bytes]]) -> bytes:
    at = int(dice.random() * (len(header) + 1))
    match int(dice.random() * 11):
        case 0:
            return header[:at]
        case 1 | 2:
            return header[:at] + bytes([int(dice.random() * 256)]) + header[at + 1 :]
        case 3:
            return header[:at] + dice.randbytes(1 + int(dice.random() * 8)) + header[at:]
        case 4:
            return header[:at] + header[at + 1 + int(dice.random() * 16) :]
        case 5 | 6:
            return header[:at] + TROUBLE[int(dice.random() * len(TROUBLE))] + header[at + 1 :]
        case 7:
            other = dice.choice(messages)[1]
            return header[:at] + other[int(dice.random() * len(other)) :]
        case 8:
            start = int(dice.random() * (at + 1))
            return header[:at] + header[start:at] + header[at:]
        case 9 if dice.random() < 0.01:
            return b"\x91" * int(dice.random() * 100_000) + header
        case _:
            bit = 1 << int(dice.random() * 8)
            return header[:at] + bytes([header[at] ^ bit]) + header[at + 1 :] if at < len(header) else header
