"""Extension entry point. Imports nothing until Blender calls it, so that the backend can share the package."""


def register() -> None:
    from . import addon

    addon.register()


def unregister() -> None:
    from . import addon

    addon.unregister()
