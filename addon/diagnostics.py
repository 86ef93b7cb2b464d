"""Everything that whoever helps an artist will ask for, as text: versions, settings, the error, the log's end. No keys."""

import platform
from pathlib import Path

import bpy

from .. import __package__ as base_package
from ..protocol import VERSION
from . import preferences
from .exporters import picture_size
from .session import current

LOG_LINES = 30


class BEYONDSCENE_OT_copy_diagnostics(bpy.types.Operator):
    """Copy what is needed to look into a problem to the clipboard: versions, settings, the error, the end of the log"""

    bl_idname = "beyondscene.copy_diagnostics"
    bl_label = "Copy Diagnostics"

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.window_manager.clipboard = describe(context)
        self.report({"INFO"}, "Copied: paste it where you ask for help")
        return {"FINISHED"}


def describe(context: bpy.types.Context) -> str:
    session, own, set_by_artist = current(), context.scene.beyondscene, preferences.get(context)
    welcome = session.welcome
    width, height = picture_size(context.scene)
    facts = {
        "Blender": f"{bpy.app.version_string}, Python {platform.python_version()}, {platform.platform()}",
        "Add-on": f"{base_package}, protocol {VERSION}",
        "Backend": f"{session.link.state}, {session.link.endpoint or 'no endpoint'}",
        "Connection": session.link.lost or "not lost",
        "Backend's version": welcome.app_version if welcome else "unknown",
        "Devices": "; ".join(
            f"{device.kind}, {device.name}, {device.free_bytes} of {device.total_bytes} bytes free"
            for device in session.devices
        )
        or "unknown",
        "Models": ", ".join(f"{one.name} lacks {one.missing}" if one.missing else one.name for one in welcome.models)
        if welcome
        else "unknown",
        "Python of the backend": set_by_artist.python,
        "Key file": set_by_artist.connection_file or "none",
        "Online access": str(bpy.app.online_access),
        "Picture": f"{width}x{height} px, {own.quality}, seed {own.seed}, models {own.models}",
        "Jobs": ", ".join(f"{job.id} {job.status} {job.fraction:.0%}" for job in session.jobs.values()) or "none",
        "Error": session.error or "none",
        "Log": session.link.log or "none here",
    }
    lines = [f"{name}: {fact}" for name, fact in facts.items()]
    return "\n".join([*lines, session.problem.trace if session.problem else "", log_end(session.link.log)])


def log_end(path: str) -> str:
    """The last lines of the backend's log; nothing for a backend that is not ours."""
    try:
        return "\n".join(Path(path).read_text("utf-8", errors="replace").splitlines()[-LOG_LINES:]) if path else ""
    except OSError as error:
        return f"it cannot be read: {error}"


register, unregister = bpy.utils.register_classes_factory((BEYONDSCENE_OT_copy_diagnostics,))
