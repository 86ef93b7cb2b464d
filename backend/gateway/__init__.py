"""The process that clients talk to: it queues jobs, supervises the worker process and never imports torch."""

from .serve import ServeError, serve
from .settings import InUseError, ServeSettings

__all__ = ["InUseError", "ServeError", "ServeSettings", "serve"]
