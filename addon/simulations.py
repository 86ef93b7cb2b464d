"""What moves by a simulation. Frames are exported one by one, between which nothing is simulated: it must be baked before."""

from typing import Any

import bpy


def say_unbaked(context: bpy.types.Context) -> str:
    """What is visible, simulated and not baked, and what to do about it; empty where nothing is."""
    layer, world = context.view_layer, context.scene.rigidbody_world
    if world and world.enabled and is_open(world.point_cache):
        bodies = world.collection.objects if world.collection else ()
        if any(one.rigid_body and one.rigid_body.type == "ACTIVE" and one.visible_get(view_layer=layer) for one in bodies):
            return (
                "The rigid bodies are not baked, so they stand still: bake them first, under Scene > Rigid Body World > Cache"
            )
    simulated = (one for one in layer.objects if any(map(is_unbaked, one.modifiers)))
    if thing := next((one for one in simulated if one.visible_get(view_layer=layer)), None):
        return f"The simulation of '{thing.name}' is not baked, so it stands still: bake it first, under Physics > Cache"
    return ""


def is_unbaked(modifier: Any) -> bool:
    if not modifier.show_viewport:
        return False
    match modifier.type:
        case "CLOTH" | "SOFT_BODY":
            return is_open(modifier.point_cache)
        case "PARTICLE_SYSTEM":
            return is_simulated(modifier.particle_system) and is_open(modifier.particle_system.point_cache)
        case "FLUID":
            return modifier.fluid_type == "DOMAIN" and not modifier.domain_settings.has_cache_baked_any
    return False


def is_simulated(particles: Any) -> bool:
    """Hair stays as it was combed, and particles without physics are where their frame says."""
    if particles.settings.type == "HAIR":
        return particles.use_hair_dynamics
    return particles.settings.physics_type not in ("NO", "KEYED")


def is_open(cache: bpy.types.PointCache) -> bool:
    return not cache.is_baked and not cache.use_external
