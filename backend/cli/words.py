"""What is said about words of a prompt."""

from ...protocol import RenderRequest
from ..models.sets import ModelSet
from ..models.vocabulary import unknown_words
from . import say


def warn_of_unknown_words(request: RenderRequest, model_set: ModelSet) -> None:
    """Name the words that models with a small vocabulary have no token for."""
    if words := unknown_words(request, model_set):
        say(f"warning: the models '{model_set.name}' do not know {', '.join(words)}: say it in other words, or choose others.")
