"""What stops an export."""


class ExportError(ValueError):
    """The scene cannot become a request. The message names the thing, the rule and the next step."""
