"""Blender's own render: while it runs the frame is its, and under *Lock Interface* so is the scene."""

import bpy

LOOK_S = 0.5  # between two looks whether it still runs


def is_running() -> bool:
    return bpy.app.is_job_running("RENDER")
