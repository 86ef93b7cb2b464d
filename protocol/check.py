"""Refuse a request that cannot become a picture, in one sentence, before any work starts."""

import re
from collections.abc import Iterator, Sequence

import msgspec

from .dialects import find_dialect
from .emphasis import LEAST, MOST, read_emphasis
from .explain import explain
from .messages import FRAME_LIMIT_BYTES
from .refusal import Refusal
from .scene import (
    BACKDROP,
    FACE_NAMES,
    FEET_NAMES,
    HAND_NAMES,
    KEYPOINT_NAMES,
    ArrayRef,
    Character,
    Keypoint,
    Lora,
    RenderRequest,
    RenderSettings,
    arrays_of,
)
from .skeleton import DRAWN, span_px
from .text import COMMAND, one_line

SMALLEST_SIDE_PX, SIDE_STEP_PX = 64, 8  # of a picture
SAME_PROPORTIONS = 0.02  # by which an array's may differ from the picture's, whose sides are rounded to multiples of 8
LONGEST = 16  # of the shorter side: beyond it the base image, whose short side is fixed, would be the larger picture
SMALLEST_PX = 8  # a person's taller side: one latent


class RequestError(Refusal):
    """A request breaks a rule. The message names the thing, the rule and the next step."""


def check_request(request: RenderRequest) -> None:
    """Raise RequestError for the first rule that `request` breaks."""
    check_bounds(request)
    check_size(request.width, request.height)
    check_scene_prompt(request.prompt)
    check_texts(request)
    check_settings(request.settings)
    check_loras("The scene", request.loras)
    for name, array in arrays_of(request):
        check_array(name, array, request)
    seen: set[str] = set()
    for character in request.characters:
        if character.id in seen:
            raise RequestError(f"Two characters have the id '{character.id}', but ids are unique: rename one.")
        seen.add(character.id)
        check_loras(f"'{character.name}'", character.loras)
        check_character(character, request.width, request.height)


def has_proportions(columns: int, rows: int, width: int, height: int) -> bool:
    """Whether what has so many columns and rows can be laid over a picture of width x height px."""
    return bool(rows and columns) and abs(columns * height / (rows * width) - 1) <= SAME_PROPORTIONS


def check_array(name: str, array: ArrayRef, request: RenderRequest) -> None:
    """Raise RequestError where `array`, as arrays_of has it, cannot be laid over the picture, or is too large."""
    sides = (3,) if name == BACKDROP else ()
    rows, columns = array.shape[:2] if len(array.shape) > 1 else (0, 0)
    if array.dtype != "uint8" or array.shape[2:] != sides or not has_proportions(columns, rows, request.width, request.height):
        needed = (request.height, request.width, *sides)
        raise RequestError(
            f"{name} has shape {array.shape} of {array.dtype}, but the picture needs {needed} of uint8, or another size of "
            "these proportions: make it for this picture."
        )
    if array.size_bytes > FRAME_LIMIT_BYTES:  # no backend takes it, and nobody could repeat the picture from its record
        raise RequestError(
            f"{name} has {array.size_bytes} bytes, more than the limit of {FRAME_LIMIT_BYTES}: make it smaller, as of half the "
            "picture's width and height."
        )


def texts_of(request: RenderRequest) -> Iterator[tuple[str, str]]:
    """What `request` says to the models in words: each text after its name, as which it can begin a sentence."""
    yield "The scene's prompt", request.prompt
    yield "The scene's negative prompt", request.negative_prompt
    yield "The style", request.style
    for character in request.characters:
        name = character.name
        yield f"The prompt of '{name}'", character.prompt
        yield f"The negative prompt of '{name}'", character.negative_prompt
        for part, text in character.part_prompts.items():
            yield f"The prompt for the {part} of '{name}'", text


def check_texts(request: RenderRequest) -> None:
    """Raise RequestError where a text has what a terminal would take for a command: they are shown in lists and logs.

    Also for a prompt with another program's marks in it, and with words that count too much or too little.
    """
    texts = [*texts_of(request)]
    for whose, text in texts:
        check_words(whose, text)
    for person in request.characters:
        texts += ((f"The id of '{person.name}'", person.id), (f"The name of '{person.name}'", person.name))
    for whose, text in texts:
        if found := COMMAND.search(text):
            which = f"U+{ord(found[0]):04X} in place {found.start() + 1}"
            raise RequestError(f"{whose} has the control character {which}, which no text may have: take it out.")


def check_words(whose: str, text: str) -> None:
    """Raise RequestError where a prompt has marks of another program, or emphasis out of its bounds."""
    if found := find_dialect(text):
        mark, why = found
        raise RequestError(f"{whose} has '{one_line(mark)[:80]}', {why}")
    for words, weight in read_emphasis(text):
        if not LEAST <= weight <= MOST:
            raise RequestError(
                f"{whose} lets '{words}' count {weight:g} times, but words count {LEAST} to {MOST} times: write another "
                "number, or \\( and \\) for brackets that are to be read."
            )


def check_scene_prompt(prompt: str) -> None:
    """Raise RequestError where it says nothing."""
    if not prompt.strip():
        raise RequestError(
            "The scene prompt is empty, but it describes the background: write a few words, e.g. 'a city plaza'."
        )


def check_prompt(prompt: str, name: str) -> None:
    """Raise RequestError where nothing is said of the character `name`."""
    if not prompt.strip():
        raise RequestError(f"The prompt of '{name}' is empty: describe this person, or switch the character off.")


def check_size(width: int, height: int) -> None:
    """Raise RequestError for a size, in pixels, that no picture may have."""
    for side, value in (("width", width), ("height", height)):
        if value < SMALLEST_SIDE_PX:
            raise RequestError(
                f"The {side} is {value} px, but a picture has at least {SMALLEST_SIDE_PX}: choose a larger size."
            )
        if value % SIDE_STEP_PX:
            below = value // SIDE_STEP_PX * SIDE_STEP_PX
            raise RequestError(
                f"The {side} is {value} px, but it must be a multiple of {SIDE_STEP_PX}: use {below} or {below + SIDE_STEP_PX}."
            )
    longer, shorter = max(width, height), min(width, height)
    if longer > LONGEST * shorter:
        raise RequestError(
            f"The picture is {width}x{height} px, but its longer side may be at most {LONGEST} times the "
            f"shorter: use {LONGEST * shorter} px for the longer side, or a larger shorter one."
        )


def check_bounds(request: RenderRequest) -> None:
    """Raise RequestError where a text is too long, a list too full or a number out of its bounds: no decoder would take it.

    That is for requests that were made here, since nothing checks a struct as it is made.
    """
    try:
        msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=RenderRequest)
    except msgspec.ValidationError as error:
        rule, *places = re.split(r"(?: -|,) at `\$\.", explain(str(error)), maxsplit=1)
        place, whose = "".join(places).rstrip("`"), "the scene"
        if found := re.fullmatch(r"characters\[(\d+)\]\.(.+)", place):
            place, whose = found[2], f"'{request.characters[int(found[1])].name}'"
        raise RequestError(
            f"The {place} of {whose} cannot be sent ({rule[:1].lower()}{rule[1:]}): change the scene to keep within that."
        ) from error


def check_settings(settings: RenderSettings) -> None:
    """Raise RequestError for the first rule that holds between settings and that `settings` break."""
    if settings.p_max < settings.p_base:
        raise RequestError(f"p_max is {settings.p_max}, below p_base {settings.p_base}: raise p_max or lower p_base.")
    if settings.stride_instance > settings.stride_background:
        raise RequestError(
            f"stride_instance is {settings.stride_instance}, above stride_background {settings.stride_background}: "
            "views over people are denser, so make it the smaller one."
        )
    if settings.canny_low > settings.canny_high:
        raise RequestError(f"canny_low is {settings.canny_low}, above canny_high {settings.canny_high}: swap them.")
    low, high = settings.guidance_interval
    if low > high:
        raise RequestError(f"guidance_interval goes from {low} to {high}, but the first share must be the smaller: swap them.")


def check_loras(whose: str, loras: tuple[Lora, ...]) -> None:
    """Raise RequestError if a LoRA is named twice."""
    names = [lora.name for lora in loras]
    for name in names:
        if names.count(name) > 1:
            raise RequestError(f"{whose} names the LoRA '{name}' twice: keep one of them, with the scale that you want.")


def check_character(character: Character, width: int, height: int) -> None:
    """Raise RequestError if `character` has no prompt, is not in the frame, or has a depth that does not fit."""
    check_prompt(character.prompt, character.name)
    for name, joint in joints_of(character):
        if joint.state in DRAWN and joint.depth < 0:
            raise RequestError(
                f"The joint {name} '{character.name}' is {joint.state} at a depth of {joint.depth:g} m, but depths in "
                "front of the camera are positive: turn the sign round, or give the joint the state 'behind'."
            )
    if unseen := why_unseen(character.keypoints, width, height):
        raise RequestError(
            f"'{character.name}' {unseen}: move the rig or the camera, choose a larger picture, or switch the character off."
        )


def joints_of(character: Character) -> Iterator[tuple[str, Keypoint]]:
    """Each joint and point that `character` has, after its name, which stands before the person's."""
    for names, joints, whose in (
        (KEYPOINT_NAMES, character.keypoints, "of"),
        (HAND_NAMES, character.right_hand, "of the right hand of"),
        (HAND_NAMES, character.left_hand, "of the left hand of"),
        (FACE_NAMES, character.face, "of the face of"),
        (FEET_NAMES, character.feet, "of the feet of"),
    ):
        yield from ((f"{name} {whose}", joint) for name, joint in zip(names, joints or (), strict=False))


def why_unseen(keypoints: Sequence[Keypoint], width: int, height: int) -> str:
    """Why nobody with these joints can be drawn in a picture of width x height px, after a name; empty where they can be."""
    drawn = [k for k in keypoints if k.state in DRAWN]
    if not drawn:
        return "has no joint in front of the camera"
    if not any(0 <= k.x < width and 0 <= k.y < height for k in drawn):
        return f"stands wholly outside the {width}x{height} frame"
    if (span := span_px(keypoints)) < SMALLEST_PX:
        return f"spans {span:.0f} px, but a person can be drawn from {SMALLEST_PX} px on"
    return ""
