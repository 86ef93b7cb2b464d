"""What an artist asks of a picture, beside poses, masks and camera: the same for all frames of an animation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import bpy
from msgspec.structs import replace

from ..protocol import Character, RenderRequest, WireError, request_from_json
from ..protocol.record import RecordError, read_record
from ..protocol.refusal import Refusal
from .exporters import Person, find_enabled, gather_request

PICTURE = ("width", "height", "seed", "prompt", "negative_prompt", "style", "settings", "loras")  # of a request
PERSON = ("prompt", "negative_prompt", "part_prompts", "loras", "seed")  # of a character


@dataclass
class FrozenSettings:
    """Holds no Blender data, which an undo or another file would take away.

    picture: those of PICTURE. people: those of PERSON, by the id of a character; somebody who comes in later is added then.
    """

    models: str
    picture: dict[str, Any]
    people: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, context: bpy.types.Context) -> Self:
        """As the scene has it now. Raises ExportError."""
        request, people = gather_request(context, deserted=True), find_enabled(context.view_layer)
        picture = {name: getattr(request, name) for name in PICTURE}
        return cls(context.scene.beyondscene.models, picture, {person.id: said_of(person) for person in people})

    @classmethod
    def of_frames(cls, frames: Sequence[Path]) -> Self:
        """As the files of an animation have it, of which some may be another's. Raises RecordError or WireError where no file
        says it.
        """
        models = ""
        requests: list[RenderRequest] = []
        refusals: list[Refusal] = []
        for frame in frames:
            try:
                record = read_record(frame)
                requests.append(request_from_json(bytes(record.request)))
            except (RecordError, WireError) as refusal:
                refusals.append(refusal)
            else:
                models = models or record.models
        if not requests:
            raise refusals[0] if refusals else RecordError("No frame of the animation is there: render it anew.")
        picture = {name: getattr(requests[0], name) for name in PICTURE}
        people = {who.id: said_of(who) for request in requests for who in request.characters}
        return cls(models, picture, people)

    def put_into(self, request: RenderRequest) -> RenderRequest:
        """The same poses and camera, which are those of a picture of this size."""
        characters = tuple(replace(who, **self.people.setdefault(who.id, said_of(who))) for who in request.characters)
        return replace(request, characters=characters, **self.picture)


def said_of(who: Person | Character) -> dict[str, Any]:
    return {name: getattr(who, name) for name in PERSON}
