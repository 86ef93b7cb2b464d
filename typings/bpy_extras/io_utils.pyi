from typing import Any

class ExportHelper:
    filepath: Any

class ImportHelper:
    filepath: Any
