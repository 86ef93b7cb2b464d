from typing import Any

class ExportHelper:
    filepath: Any
