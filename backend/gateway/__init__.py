"""The process that clients talk to: it queues jobs, supervises the worker process and never imports torch."""

from .serve import ServeError, serve
from .settings import ServeSettings

__all__ = ["ServeError", "ServeSettings", "serve"]
