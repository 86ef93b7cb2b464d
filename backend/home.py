"""The user's own folders. Where nobody knows the user's home, as in a container, they are names that no file can have."""

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

NOWHERE = Path(os.devnull, "HOME is not set")


def user_data_path(name: str) -> Path:
    return at_home(platformdirs.user_data_path, name)


def user_cache_path(name: str) -> Path:
    return at_home(platformdirs.user_cache_path, name)


def at_home(find: Callable[[str], Path], name: str) -> Path:
    try:
        path = find(name)
    except RuntimeError:
        return NOWHERE / name
    return path if path.is_absolute() else NOWHERE / name  # before platformdirs 4.10 it was below a folder called ~
