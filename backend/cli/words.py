"""What is said about words of a prompt, and about people who will not be in the picture."""

from collections.abc import Iterable

from msgspec.structs import replace

from ...protocol import RenderRequest, is_seen
from ..blend import Shot
from ..models.sets import ModelSet
from ..models.vocabulary import unknown_words
from . import say


def warn_of_unknown_words(request: RenderRequest, model_set: ModelSet) -> None:
    """Name the words that models with a small vocabulary have no token for."""
    if words := unknown_words(request, model_set):
        say(f"warning: the models '{model_set.name}' do not know {', '.join(words)}: say it in other words, or choose others.")


def warn_of_the_unseen(shot: Shot) -> RenderRequest:
    """The request without those whose masks show them nowhere, whom the picture leaves out. Names them."""
    seen = tuple(person for person in shot.request.characters if is_seen(person, shot.arrays))
    hidden = [person.name for person in shot.request.characters if person not in seen]
    words = "is left out, for the mask shows nothing of this person, which 255 would."
    warn_of_remarks((f"'{name}' {words}" for name in hidden), shot.frame)
    return replace(shot.request, characters=seen)


def warn_of_remarks(remarks: Iterable[str], frame: int | None = None) -> None:
    """Say what of a picture is not as it was asked for."""
    at = "" if frame is None else f"frame {frame}: "
    for remark in remarks:
        say(f"warning: {at}{remark}")
