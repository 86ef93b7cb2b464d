"""The add-on: register() makes it present in Blender, unregister() leaves nothing behind."""


def register() -> None:
    import atexit

    from . import controls, images, joints, operators, panels, preferences, properties, session

    properties.register()
    preferences.register()
    images.register()
    session.register()
    operators.register()
    panels.register()
    joints.register()
    controls.register()
    # Blender does not unregister add-ons when it quits, but the backend must stop; and with classes of an add-on still
    # registered the bpy wheel does not leave Python at all.
    atexit.register(unregister)


def unregister() -> None:
    import atexit

    from . import controls, images, joints, operators, panels, preferences, properties, session

    atexit.unregister(unregister)
    controls.unregister()
    joints.unregister()
    panels.unregister()
    operators.unregister()
    session.unregister()
    images.unregister()
    preferences.unregister()
    properties.unregister()
