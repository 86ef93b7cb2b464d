from typing import Any

from . import app as app
from . import props as props
from . import types as types

def __getattr__(name: str) -> Any: ...
