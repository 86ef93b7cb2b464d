"""Who is in a scene: every armature that is visible or moves a visible body, by itself or where an object instances it."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, get_args

import bpy
import numpy as np

from ...protocol import Lora, PartName
from ..loras import gather_loras
from ..overrides import make_comparable
from ..texts import said_by
from .errors import ExportError
from .instancing import instances, is_at_parent, shown_objects
from .joints import PosedRig, gather_rest
from .leaders import ArmatureFinder, find_movers, is_shown, is_solid, rendered_objects
from .rigs import MIN_COVERAGE, Match, best_match, rests_upright

SURFACES = ("MESH", "SURFACE", "META", "FONT")  # types of objects that have faces, or become a mesh that does
LONGEST_ID = 128  # of a character of a request

Inside = tuple[bpy.types.Object, tuple[bpy.types.Object, ...]]  # a rig, and the instancers on the way to it
Contents = dict[bpy.types.Collection, list[Inside]]


@dataclass(frozen=True)
class Person:
    """A rig where it stands: by itself, or as part of a collection instance.

    instancers: the objects whose collections hold it, outermost first; none where the rig stands by itself.
    alone: whether the outermost of them instances no other rig.
    """

    armature: bpy.types.Object
    instancers: tuple[bpy.types.Object, ...] = ()
    alone: bool = True

    @property
    def described(self) -> bpy.types.Object:
        """The object whose settings tell this person from others with the same rig: the instancer where it has only one."""
        return self.instancers[0] if self.instancers and self.alone else self.armature

    @property
    def name(self) -> str:
        if not self.instancers or self.alone:
            return self.described.name
        return f"{self.instancers[0].name}: {self.armature.name}"

    @property
    def id(self) -> str:
        """Unique in the scene: with the names of libraries, since a linked rig may have a local namesake."""
        names = (thing.name_full for thing in (*self.instancers, self.armature))
        path = "/".join(name.replace("\\", "\\\\").replace("/", "\\/") for name in names)
        if len(path) <= LONGEST_ID:
            return path
        digest = hashlib.blake2b(path.encode(), digest_size=16).hexdigest()  # the ends of two long ones differ most often
        return f"{path[: LONGEST_ID - len(digest) - 1]} {digest}"

    @property
    def said(self) -> bool | None:
        """What the artist said of whether to draw them: the instancer's own word, or else the rig's; None for none."""
        owns = (self.described.beyondscene, self.armature.beyondscene)
        return next((own.enabled for own in owns if own.is_property_set("enabled")), None)

    @property
    def enabled(self) -> bool:
        """Whether they are drawn; unasked, where somebody has described them or nothing speaks against it."""
        return self.said if self.said is not None else bool(self.prompt) or not self.doubt

    # This and the next are kept: a redraw asks them of everybody many times, and they take longest of all that it asks.
    @cached_property
    def match(self) -> Match:
        """What is found of their rig, however little."""
        return best_match(self.armature)

    @cached_property
    def doubt(self) -> str:
        """What speaks against a person, after "is off since"; empty where nothing does."""
        if self.match.coverage < MIN_COVERAGE:
            return "its bones are not plainly a person's"
        if not rests_upright(gather_rest(self.armature, self.match)):
            return "its rest pose is not a person's, upright with arms and legs"
        if generated := find_generated(self.armature):
            return f"Rigify has made '{generated.name}' of it"
        wearer = find_wearer(self.armature)
        return f"it moves with '{wearer.name}', as the rig of clothes does" if wearer else ""

    @property
    def prompt(self) -> str:
        """The instancer's own, or else that of the rig."""
        return said_by(self.described.beyondscene) or said_by(self.armature.beyondscene)

    @property
    def negative_prompt(self) -> str:
        return self.described.beyondscene.negative_prompt or self.armature.beyondscene.negative_prompt

    @property
    def part_prompts(self) -> dict[PartName, str]:
        """Of each part, the instancer's own, or else that of the rig; parts of which nothing is said are not there."""
        own, rig = self.described.beyondscene.parts, self.armature.beyondscene.parts
        prompts = {part: getattr(own, part).strip() or getattr(rig, part).strip() for part in get_args(PartName)}
        return {part: text for part, text in prompts.items() if text}

    @property
    def loras(self) -> tuple[Lora, ...]:
        """The instancer's own, or else those of the rig. Raises ExportError for a name that no LoRA can have."""
        described = self.described.beyondscene.loras
        return gather_loras(described if len(described) else self.armature.beyondscene.loras, f"'{self.name}'")

    @property
    def seed(self) -> int | None:
        """The instancer's own, or else that of the rig; None: the picture's."""
        owns = (self.described.beyondscene, self.armature.beyondscene)
        return next((own.seed for own in owns if own.use_own_seed), None)

    def frame(self, depsgraph: bpy.types.Depsgraph) -> np.ndarray:
        """(4, 4): where the world of the collection that holds the rig stands in the world of the scene."""
        frame = np.eye(4)
        for instancer in self.instancers:
            offset = np.eye(4)
            offset[:3, 3] = instancer.instance_collection.instance_offset
            frame = frame @ np.array(instancer.evaluated_get(depsgraph).matrix_world) @ np.linalg.inv(offset)
        return frame

    def world(self, depsgraph: bpy.types.Depsgraph) -> np.ndarray:
        """(4, 4): from the frame of the rig to the world of the scene."""
        return self.frame(depsgraph) @ np.array(self.armature.evaluated_get(depsgraph).matrix_world)

    def pose(self, depsgraph: bpy.types.Depsgraph, match: Match) -> PosedRig:
        """Their rig as it is posed now. match: of its bones."""
        armature = self.armature.evaluated_get(depsgraph)
        return PosedRig(armature, self.world(depsgraph), match, self.is_mirrored(depsgraph))

    def is_mirrored(self, depsgraph: bpy.types.Depsgraph) -> bool:
        """Whether the scene's camera sees them as in a mirror: by a negative scale of theirs, which a bone above the head may
        have, or of its own, and not of two of these.
        """
        camera, head = depsgraph.scene.camera.evaluated_get(depsgraph), self.match.anchors.get("Head")
        bones = self.armature.evaluated_get(depsgraph).pose.bones
        scale = np.linalg.det(self.world(depsgraph)[:3, :3]) * camera.matrix_world.determinant()
        return bool(scale * (bones[head.bone].matrix.determinant() if head else 1) < 0)


def find_people(view_layer: bpy.types.ViewLayer) -> list[Person]:
    """Whom the view layer shows and renders, switched on or not, by name; a rig may be hidden where its mesh is not."""
    rendered = rendered_objects(view_layer.layer_collection)

    def shown(thing: bpy.types.Object) -> bool:
        return thing in rendered and is_shown(thing, view_layer)

    people = [Person(armature) for armature in find_rigs(view_layer.objects, bpy.data.objects, shown)]
    known: Contents = {}
    for thing in view_layer.objects:
        if instances(thing) and shown(thing) and thing.visible_camera and not is_at_parent(thing):
            inside = find_inside(thing.instance_collection, known)
            people += [Person(armature, (thing, *path), alone=len(inside) == 1) for armature, path in inside]
    for thing in {thing for person in people for thing in (person.described, person.armature)}:
        make_comparable(thing)  # an automatic save asks nobody
    return sorted(people, key=lambda person: person.id)


def find_rigs(
    things: Iterable[bpy.types.Object], known: Iterable[bpy.types.Object], shown: Callable[[bpy.types.Object], bool]
) -> set[bpy.types.Object]:
    """The armatures of which one sees something: those among `things` that are `shown`, and of `known` the one that moves a
    body among them that is, with the person's where that is another: one for the face or the clothes may deform it first.
    """
    armatures = {thing for thing in known if thing.type == "ARMATURE"}
    rigs = {thing for thing in things if thing.type == "ARMATURE" and shown(thing)}
    if rigs != armatures:
        somebody = cache(is_somebody)  # asked of few: rigs may have a thousand bones, and those put aside move nothing shown
        nearest = ArmatureFinder(armatures.__contains__)
        people = ArmatureFinder(lambda thing: thing in armatures and somebody(thing))
        for body in filter(has_faces, things):
            if (mover := nearest.find(body)) and is_solid(body) and shown(body):
                rigs |= {mover, people.find(body) or mover}
    return rigs


def is_somebody(armature: bpy.types.Object) -> bool:
    """Whether it is a person of its own, or may be: else what it moves is of the person that it hangs on."""
    person = Person(armature)
    return person.enabled or not person.doubt


def has_faces(thing: bpy.types.Object) -> bool:
    """Whether it is of a kind that has: a curve may be a path alone, as for a spine that follows one."""
    if thing.type != "CURVE":
        return thing.type in SURFACES
    curve = thing.data
    return curve.dimensions == "2D" or curve.bevel_depth > 0 or curve.extrude > 0 or curve.bevel_object is not None


def find_enabled(view_layer: bpy.types.ViewLayer) -> list[Person]:
    """Those that are switched on, by name."""
    return [person for person in find_people(view_layer) if person.enabled]


def chosen_people(scene: bpy.types.Scene, people: Sequence[Person]) -> list[Person]:
    """Those of `people`, whom `scene` shows, that are switched on. Raises ExportError where there is none."""
    chosen = [person for person in people if person.enabled]
    if not chosen:
        raise ExportError(
            f"The scene '{scene.name}' shows no armature that is switched on, and each person comes from one: "
            + say_how_to_begin(scene, [person for person in people if person.said is None])
        )
    return chosen


def say_how_to_begin(scene: bpy.types.Scene, unknown: Sequence[Person]) -> str:
    """The next step where nobody is switched on. unknown: those of whom nobody said that they are off."""
    hidden = sorted(thing.name for thing in scene.objects if thing.type == "ARMATURE" and Person(thing).said is not False)
    if unknown:
        return f"'{unknown[0].name}' is off since {unknown[0].doubt}: tick it in the list if it is a person of its own."
    if hidden:
        return f"'{hidden[0]}' or its collection is hidden, excluded or switched off for renders: show it in the Outliner."
    return "press Add Person under Characters, or append a rig of your own, unhide it, or tick it in the list."


def find_wearer(armature: bpy.types.Object) -> bpy.types.Object | None:
    """The rig of a person that moves `armature` as a whole, where there is one."""
    rigs = (thing for thing in find_movers(armature) if thing.type == "ARMATURE" and thing != armature)
    return next((rig for rig in rigs if is_human(rig)), None)


def find_generated(armature: bpy.types.Object) -> bpy.types.Object | None:
    """The rig that Rigify has made of `armature`, its meta-rig; also where Rigify is off, as without a window."""
    data: Any = armature.data
    properties = data.bl_system_properties_get() if bpy.app.version >= (5, 0, 0) else data
    rig = properties.get("rigify_target_rig") if properties else None
    return rig if rig and rig != armature and rig.users_scene else None  # one that was deleted is kept in the file by this


def is_human(armature: bpy.types.Object) -> bool:
    """Whether its joints are found, and are a person's in the rest pose: the bones of animals may be called as ours are."""
    match = best_match(armature)
    return match.coverage >= MIN_COVERAGE and rests_upright(gather_rest(armature, match))


def is_anybody_drawn(thing: bpy.types.Object) -> bool:
    """Whether somebody is whom the settings of `thing` describe, shown or not."""
    if thing.type == "ARMATURE":
        return Person(thing).enabled
    inside = find_inside(thing.instance_collection, {}) if instances(thing) else ()
    return any(Person(armature, (thing, *path)).enabled for armature, path in inside)


def find_inside(collection: bpy.types.Collection, known: Contents) -> list[Inside]:
    """What an instance of `collection` shows, at any depth. known: the same of other collections; takes what is found here."""
    if collection not in known:
        shown = list(shown_objects(collection))
        rigs = find_rigs(shown, collection.all_objects, lambda thing: not thing.hide_render)
        known[collection] = [(armature, ()) for armature in rigs]
        for thing in (thing for thing in shown if instances(thing) and not thing.hide_render and not is_at_parent(thing)):
            known[collection] += [
                (armature, (thing, *path)) for armature, path in find_inside(thing.instance_collection, known)
            ]
    return known[collection]
