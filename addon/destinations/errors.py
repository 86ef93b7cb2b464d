"""Why a picture cannot be put somewhere."""


class DestinationError(ValueError):
    """The message names what is missing and the next step."""
