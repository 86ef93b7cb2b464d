"""What an artist can do with a finished picture: put it somewhere, go back to its settings, make it again."""

# pyright: reportInvalidTypeForm=false

from contextlib import suppress
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty
from bpy_extras.io_utils import ImportHelper

from ..protocol import RenderRequest, WireError, request_from_json
from ..protocol.client import new_job_id
from ..protocol.record import Record, RecordError, inflate, read_record
from . import editors, history, images, preferences, thumbnails
from .destinations import DESTINATIONS, DestinationError, put
from .job import Job
from .obstacles import SaysWhyNot
from .operators import Waits, outcome, say_unwritable, wait_for_picture
from .session import current
from .ticker import wake

Result = set[str]


class OnPicture(SaysWhyNot):
    """An operator on the picture that the panel shows."""

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        return "" if history.chosen() else "There is no picture yet: render one"


class BEYONDSCENE_OT_place_picture(OnPicture, bpy.types.Operator):
    """Put the picture there"""

    bl_idname = "beyondscene.place_picture"
    bl_label = "Place Picture"
    bl_options = {"UNDO"}  # no REGISTER: its panel would go into the window that is new, and crash Blender

    destination: EnumProperty(
        name="Destination",
        items=[(name, one.LABEL, one.WHAT, one.ICON, n) for n, (name, one) in enumerate(DESTINATIONS.items())],
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: "BEYONDSCENE_OT_place_picture") -> str:
        return DESTINATIONS[properties.destination].WHAT

    def execute(self, context: bpy.types.Context) -> Result:
        image = history.chosen()
        assert image  # polled
        try:
            self.report({"INFO"}, put(context, image, self.destination))
        except DestinationError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class BEYONDSCENE_OT_restore_settings(OnPicture, bpy.types.Operator):
    """Set prompts, LoRAs, seed, size, quality, models and file format as they were for this picture. Poses and camera stay"""

    bl_idname = "beyondscene.restore_settings"
    bl_label = "Restore Settings"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        linked = f"'{context.scene.name}' is linked from another file, and would not keep them: open that file to restore them"
        return super().obstacle(context) or ("" if context.scene.is_editable else linked)

    def execute(self, context: bpy.types.Context) -> Result:
        try:
            record, request = read()
        except RecordError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        image = history.chosen()
        assert image  # polled
        path = images.path_of(image)
        context.scene.beyondscene.file_format = f".{images.format_of(path)}"
        is_frame = image.source == "SEQUENCE"
        unlike = history.restore(context.scene, context.view_layer, record, request, is_frame=is_frame)
        try:
            frame = int(path.stem) if images.sequence_of(path) else None
            history.restore_backdrop(context.scene, record, request, frame)
        except WireError as error:
            self.report({"WARNING"}, f"The backdrop stays as it is: {error}")
        for seed in (request.seed, *(one.seed or 0 for one in request.characters)):
            if seed > history.LARGEST_SEED:
                self.report({"WARNING"}, f"Seed {seed} is more than a Blender scene can hold: Render Again draws with it")
        for fate, names in (
            ("Switched off, since the picture is without them", unlike.switched_off),
            ("Not in this scene, or hidden", unlike.gone),
            ("Linked, and so left as they are; make a library override of them and restore again", unlike.linked),
        ):
            if names:
                self.report({"WARNING"}, f"{fate}: {', '.join(names)}")
        return {"FINISHED"}


class BEYONDSCENE_OT_render_again(OnPicture, Waits, bpy.types.Operator):
    """Render exactly this picture again, with the poses, camera and settings that it holds, whatever the scene is now"""

    bl_idname = "beyondscene.render_again"
    bl_label = "Render Again"

    def execute(self, context: bpy.types.Context) -> Result:
        session = current()
        session.problem, own = None, context.scene.beyondscene
        try:
            record, request = read()
            inflate(request, record.arrays)  # better now than when it is sent
        except (RecordError, WireError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        try:
            (path,) = images.next_paths(own.output_folder, own.file_format, promised=session.promised)
        except OSError as error:
            self.report({"ERROR"}, say_unwritable(own.output_folder, error))
            return {"CANCELLED"}
        job = Job(new_job_id(), path, request, record.arrays, record.models, bpy.data.filepath)
        session.render([job], preferences.get(context))
        wake()
        if self.wait:
            wait_for_picture()
        return outcome(self)


class BEYONDSCENE_OT_open_picture(ImportHelper, bpy.types.Operator):
    """Take a picture that was made elsewhere into the list, to restore its settings or render it again"""

    bl_idname = "beyondscene.open_picture"
    bl_label = "Open Picture"
    bl_options = {"REGISTER", "UNDO"}

    filter_glob: StringProperty(default=";".join(f"*{suffix}" for suffix in images.FORMATS), options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> Result:
        path = Path(bpy.path.abspath(self.filepath))
        try:
            read_record(path)
        except RecordError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        current().picture = images.PictureRef.of(editors.load_picture(path))
        return {"FINISHED"}


class BEYONDSCENE_OT_delete_picture(OnPicture, bpy.types.Operator):
    """Take the picture out of this .blend, wherever it is shown, and delete its file if that is ticked"""

    bl_idname = "beyondscene.delete_picture"
    bl_label = "Delete Picture"
    bl_options = {"UNDO"}  # no REGISTER: whoever changed an option afterwards would delete the next one

    delete_file: BoolProperty(
        name="Delete the File, Too",
        description="Of an animation all its frames. An undo does not bring them back",
        options={"SKIP_SAVE"},
    )
    asked: images.PictureRef | None = None  # of which the dialog asks: while it is open, another may come and be chosen

    def picture(self) -> bpy.types.Image | None:
        return self.asked.find() if self.asked else history.chosen()

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Result:
        image = history.chosen()
        assert image  # polled
        self.asked = images.PictureRef.of(image)
        return context.window_manager.invoke_props_dialog(self, width=400, confirm_text="Delete")

    def draw(self, context: bpy.types.Context) -> None:
        image = self.picture()
        if image:
            self.layout.label(text=str(images.path_of(image)), icon="IMAGE_DATA", translate=False)
        self.layout.prop(self, "delete_file")

    def execute(self, context: bpy.types.Context) -> Result:
        image = self.picture()
        if image is None:
            self.report({"ERROR"}, "The picture is not in this .blend any more: choose another one.")
            return {"CANCELLED"}
        if self.delete_file:
            try:
                delete_files(image)
            except OSError as error:
                self.report({"ERROR"}, f"The file {error.filename} cannot be deleted ({error.strerror}): the picture stays.")
                return {"CANCELLED"}
        elif bpy.ops.ed.undo_push.poll():
            bpy.ops.ed.undo_push(message="Finished Picture")  # it came without a step that an undo could go back to
        if image == history.chosen():
            current().picture = images.PictureRef()
        bpy.data.images.remove(image)
        return {"FINISHED"}


def delete_files(image: bpy.types.Image) -> None:
    """With the thumbnail, and with the folder of an animation unless there is something else in it. Raises OSError."""
    path = images.path_of(image)
    for file in images.files_of(image):
        file.unlink(missing_ok=True)
    if images.sequence_of(path):
        with suppress(OSError):
            path.parent.rmdir()
    thumbnails.keep(path, b"")


def read() -> tuple[Record, RenderRequest]:
    """The record of the chosen picture, and its request. Raises RecordError."""
    image = history.chosen()
    assert image  # polled
    if not images.has_pixels(image):
        raise RecordError(images.say_gone(image))
    record = read_record(images.path_of(image), image.packed_file.data if image.packed_file else None)
    try:
        return record, request_from_json(bytes(record.request))
    except WireError as error:
        why = "it is damaged, or from a newer version; choose another one, or update the add-on"
        raise RecordError(f"{images.path_of(image)} cannot be repeated ({error}): {why}.") from error


CLASSES = (
    BEYONDSCENE_OT_place_picture,
    BEYONDSCENE_OT_restore_settings,
    BEYONDSCENE_OT_render_again,
    BEYONDSCENE_OT_open_picture,
    BEYONDSCENE_OT_delete_picture,
)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
