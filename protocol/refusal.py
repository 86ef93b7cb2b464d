"""What every error has in common that is no fault of the program."""


class Refusal(ValueError):  # noqa: N818  (reads as what it is)
    """Something to put right in the command, the scene, the request, the models or the machine.

    The message is one sentence for whoever can: the thing, the rule and the next step. Any other error is a fault of ours.
    """
