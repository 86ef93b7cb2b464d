"""Which version of this package runs."""

from importlib.metadata import PackageNotFoundError, version


def app_version() -> str:
    try:
        return version("beyondscene")
    except PackageNotFoundError:
        return "unknown"  # run from a plain copy of the sources
