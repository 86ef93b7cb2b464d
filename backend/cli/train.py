"""Train a model of this project."""

from ..training.command import add_arguments, run

__all__ = ["add_arguments", "run"]
