"""Write what other programs and later versions hold us to: the JSON schema of a request, one golden file per message, and
one ledger per format.

    python tools/export_protocol.py

The schema is made anew each time (a test compares it). A golden file is never overwritten: it is what a released
version put on the wire or the disk, and later versions must still read it.
"""

import sqlite3
import tempfile
from contextlib import closing
from inspect import cleandoc
from pathlib import Path
from typing import Any, get_args

import msgspec
from beyondscene import protocol as p
from beyondscene.backend.gateway.jobs import Jobs
from beyondscene.backend.gateway.ledger import Ledger
from beyondscene.backend.gateway.migrations import APPLICATION_ID, MIGRATIONS

ROOT = Path(__file__).parent.parent
SCHEMA = ROOT / "docs" / "request.schema.json"
GOLDEN = ROOT / "tests" / "golden"

JOB = "01890a5d-ac96-774b-bcce-b302099a8057"
DIGEST = "00" * 32
MASK = p.ArrayRef(digest=DIGEST, dtype="uint8", shape=(1024, 1536))
DEVICE = p.DeviceInfo(kind="cuda", name="NVIDIA H200", total_bytes=150_000_000_000, free_bytes=140_000_000_000)
TIMES = (p.StageTime(stage="instances", seconds=3.5), p.StageTime(stage="enlarge", level=2, seconds=40.0))
JOINT = p.Keypoint(x=249.5, y=377.25, depth=6.25)
HIDDEN = p.Keypoint(x=0.0, y=0.0, depth=0.0, state="missing")
HAND = (JOINT,) * 20 + (HIDDEN,)
FACE = (JOINT,) * 69 + (HIDDEN,)
FEET = (JOINT,) * 5 + (HIDDEN,)
PERSON = p.Character(
    id="Ana", name="Ana", prompt="a person with a red shirt", negative_prompt="hat", keypoints=(JOINT,) * 17 + (HIDDEN,),
    part_prompts={"head": "freckles"}, mask=MASK,
)  # fmt: skip
CAMERA = p.Camera(
    fx=1706.5, fy=1706.5, cx=768.0, cy=512.0, camera_from_world=(1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 5, 0, 0, 0, 1)
)
SCENE = p.RenderRequest(
    width=1536, height=1024, seed=7, prompt="a city plaza", negative_prompt="blurry", camera=CAMERA, characters=(PERSON,)
)

WITH_HANDS = msgspec.structs.replace(SCENE, characters=(msgspec.structs.replace(PERSON, right_hand=HAND, left_hand=HAND),))
WITH_FACE = msgspec.structs.replace(SCENE, characters=(msgspec.structs.replace(PERSON, face=FACE),))
WITH_FEET = msgspec.structs.replace(
    SCENE, characters=(msgspec.structs.replace(PERSON, feet=FEET),), settings=p.RenderSettings(hidden_joints="drop")
)
WITH_LORAS = msgspec.structs.replace(
    SCENE,
    loras=(p.Lora(name="watercolour", scale=0.8),),
    characters=(msgspec.structs.replace(PERSON, loras=(p.Lora(name="Ana v2"),)),),
)

SKELETONS = p.ModelSetInfo(
    name="sdxl", training_resolution_px=1024, pose_line_width_px=24, pose_hands=True, pose_face=True, pose_feet=True
)

EXAMPLES: dict[str, tuple[p.Message, ...]] = {
    "request": (
        p.Hello(versions=(1, 1), client="blender 4.5.1"),
        p.Submit(job_id=JOB, request=SCENE, models="sdxl", arrays=(MASK,)),
        p.Cancel(job_id=JOB),
        p.Subscribe(job_id=JOB, since_seq=3),
        p.Fetch(job_id=JOB, offset=1048576, chunks=8),
        p.Ping(),
        p.ListJobs(limit=20),
        p.Estimate(key="1", request=SCENE, models="sdxl"),
        p.Submit(job_id=JOB, request=WITH_HANDS, models="sdxl", arrays=(MASK,)),
        p.Submit(job_id=JOB, request=WITH_LORAS, models="sdxl", arrays=(MASK,)),
        p.Submit(job_id=JOB, request=WITH_FACE, models="sdxl", arrays=(MASK,)),
        p.Submit(job_id=JOB, request=WITH_FEET, models="sdxl", arrays=(MASK,)),
        p.Submit(job_id=JOB, request=SCENE, models="sdxl", arrays=(MASK,), picture_format="exr"),
        p.Received(job_id=JOB, digest=DIGEST),
    ),
    "event": (
        p.Finished(
            job_id=JOB, seq=9, width=1536, height=1024, media_type="image/png", size_bytes=2500000, digest=DIGEST, times=TIMES
        ),
        p.Welcome(
            version=1, app_version="0.1.0", boot_id="a1", models=(p.ModelSetInfo(name="embedded", training_resolution_px=256),),
            device=DEVICE,
        ),
        p.Rejected(versions=(1, 1), message="update the add-on"),
        p.Refused(message="The width is 190 px, but it must be a multiple of 8.", job_id=JOB),
        p.Accepted(job_id=JOB, seq=0, position=2),
        p.Started(job_id=JOB, seq=1, attempt=1, device=DEVICE),
        p.Progressed(
            job_id=JOB, seq=2, stage="enlarge", level=2, levels=3, step=5, steps=35, fraction=0.5, remaining_s=12.5
        ),
        p.Previewed(job_id=JOB, seq=3, width=512, height=341),
        p.Failed(job_id=JOB, seq=9, message="The device ran out of memory."),
        p.Cancelled(job_id=JOB, seq=9),
        p.Chunk(job_id=JOB, offset=1048576, size_bytes=2500000),
        p.Pong(queued=1, running=1, device=DEVICE),
        p.Stopping(job_id=JOB, seq=8),
        p.JobsListed(
            jobs=(p.JobInfo(job_id=JOB, state="running", attempt=2, width=9, height=9, prompt="a plaza", fraction=0.5),)
        ),
        p.Estimated(
            key="1", canvases=(p.Canvas(width=1536, height=1024, views=15),), people=1, evaluations=575, seconds=40.0,
            memory_bytes=3_000_000_000,
        ),
        p.Paused(job_id=JOB, seq=2, needed_bytes=536870912, free_bytes=1048576, message="The disk is full."),
        p.Welcome(version=1, app_version="0.1.0", boot_id="a1", models=(), device=DEVICE, devices=(DEVICE, DEVICE)),
        p.Pong(queued=1, running=2, device=DEVICE, devices=(DEVICE, DEVICE)),
        p.Refused(message="This connection is new to the backend: say Hello first.", greet=True),
        p.Welcome(version=1, app_version="0.1.0", boot_id="a1", models=(SKELETONS,), device=DEVICE),
        p.Welcome(version=1, app_version="0.1.0", boot_id="a1", models=(), device=DEVICE, waiting_jobs=250),
        p.Refused(message="100 jobs are waiting, which is the limit.", job_id=JOB, later=True),
        p.Welcome(version=1, app_version="0.1.0", boot_id="a1", models=(), device=DEVICE, receipts=True),
        p.JobsListed(jobs=(p.JobInfo(job_id=JOB, state="queued", attempt=0, width=9, height=9, prompt="", owner="Ann"),)),
        p.Finished(
            job_id=JOB, seq=9, width=9, height=9, media_type="image/png", size_bytes=9, digest=DIGEST,
            remarks=("'Ana' is not in the picture.",),
        ),
    ),
    "order": (
        p.RunJob(job_id=JOB, attempt=1, request=SCENE, models="sdxl", arrays=(MASK,), result_path="results/1.png"),
        p.StopJob(job_id=JOB, attempt=1),
        p.Shutdown(),
    ),
    "report": (
        p.Ready(device=DEVICE, pid=4711),
        p.Heartbeat(device=DEVICE),
        p.JobProgress(job_id=JOB, attempt=1, stage="instances", step=3, steps=50, fraction=0.1),
        p.JobPreview(job_id=JOB, attempt=1, width=512, height=341),
        p.JobDone(job_id=JOB, attempt=1, width=1536, height=1024, media_type="image/png", size_bytes=2500000, digest=DIGEST),
        p.JobFailed(job_id=JOB, attempt=1, message="The device ran out of memory."),
        p.JobStopped(job_id=JOB, attempt=1),
        p.JobCheckpoint(job_id=JOB, attempt=2),
        p.DiskFull(job_id=JOB, attempt=2),
        p.Ready(device=DEVICE, pid=4711, devices=("cuda:0", "cuda:1")),
        p.Heartbeat(device=DEVICE, quiet_s=12.0, longest_quiet_s=3.0),
        p.JobDone(
            job_id=JOB, attempt=1, width=9, height=9, media_type="image/png", size_bytes=9, digest=DIGEST,
            remarks=("'Ana' is not in the picture.",),
        ),
    ),
}  # fmt: skip


def request_schema() -> bytes:
    """The JSON schema of a request file, indented: what decoding refuses, and what check_request does where a schema can."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **dedented(msgspec.json.schema(p.RenderRequest))}
    structs = schema["$defs"]
    for struct in structs.values():
        struct["additionalProperties"] = False  # in a file an unknown name is a typing slip
    request, character = structs["RenderRequest"]["properties"], structs["Character"]["properties"]
    request["$schema"] = {"type": "string", "description": "Where this schema is, for editors"}
    for side in ("width", "height"):
        request[side] |= {"minimum": p.SMALLEST_SIDE_PX, "multipleOf": p.SIDE_STEP_PX}
    for prompt in (request["prompt"], character["prompt"]):
        prompt |= {"minLength": 1, "pattern": r"\S"}
    parts = character["part_prompts"]
    parts["properties"] = dict.fromkeys(get_args(p.PartName), parts["additionalProperties"])
    parts["additionalProperties"] = False
    parts.pop("propertyNames", None)  # the same once more, from msgspec 0.23 on
    return msgspec.json.format(msgspec.json.encode(schema), indent=1) + b"\n"


def dedented(schema: Any) -> Any:
    """With its descriptions, which are docstrings, as Python from 3.13 on has them: without the indentation of the source."""
    if isinstance(schema, dict):
        return {name: cleandoc(one) if name == "description" else dedented(one) for name, one in schema.items()}
    return [dedented(one) for one in schema] if isinstance(schema, list) else schema


def ledger_dump() -> str:
    """As SQL: a job that has finished, one that runs, one that is stopping, one that waits with an array, one paused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        ledger = Ledger(path)
        jobs = Jobs(ledger)
        mask = bytes(64)
        small = p.ArrayRef(digest=p.digest_of(mask), dtype="uint8", shape=(8, 8))
        finished, running, stopping, _, paused = (
            jobs.submit(p.Submit(job_id=f"{JOB[:-1]}{number}", request=SCENE, arrays=(small,)), [mask]) for number in range(5)
        )
        facts = {"width": 1536, "height": 1024, "media_type": "image/png", "size_bytes": 2500000, "digest": DIGEST}
        jobs.finish(jobs.start(finished, DEVICE), p.JobDone(job_id=finished.id, attempt=1, times=TIMES, **facts))
        jobs.start(running, DEVICE)
        jobs.wish_cancel(jobs.start(stopping, DEVICE))
        jobs.pause(paused, needed_bytes=536870912, free_bytes=1048576)
        ledger.close()
        with closing(sqlite3.connect(path)) as database:
            header = f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {len(MIGRATIONS)};\n"
            return header + "\n".join(database.iterdump()) + "\n"


def main() -> int:
    SCHEMA.write_bytes(request_schema())
    GOLDEN.mkdir(exist_ok=True)
    for kind, examples in EXAMPLES.items():
        for index, message in enumerate(examples):
            path = GOLDEN / f"v{p.VERSION}-{kind}-{index}-{type(message).__name__.lower()}.msgpack"
            if not path.exists():
                path.write_bytes(p.encode(message)[1])
    ledger = GOLDEN / f"ledger-{len(MIGRATIONS)}.sql"
    if not ledger.exists():
        ledger.write_text(ledger_dump())
    print(f"{SCHEMA}, {ledger.name}, {len(list(GOLDEN.glob('*.msgpack')))} golden messages")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
