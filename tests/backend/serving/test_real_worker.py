"""The worker process as it is shipped, with toy-sized models: the pipeline itself behind the gateway."""

import io
import json
import sys

import pytest
from beyondscene.backend.models.sets import ModelSet
from beyondscene.protocol import Finished, Previewed, Progressed, RenderRequest, Started, Subscribe, digest_of, resized
from msgspec.structs import replace
from PIL import Image

from .conftest import Connect, Start
from .talk import PATIENCE_S, attempts

# keeps every step, so that the kill falls between two of them
WORKER = """
from beyondscene.backend import checkpoints
from beyondscene.backend.worker import run_worker
checkpoints.INTERVAL_S = 0
raise SystemExit(run_worker())
"""


@pytest.mark.slow
def test_the_pipeline_behind_the_gateway(
    start: Start, connect: Connect, tiny_models: ModelSet, two_people: RenderRequest
) -> None:
    gateway = start(model_folders=[str(tiny_models.folder)], worker_command=[sys.executable, "-c", WORKER])
    talk = connect(gateway)  # while the worker still loads torch
    job_id = talk.submit(two_people, models=tiny_models.name)
    finished = talk.hear_until(Finished, job_id, timeout_s=400)  # torch and diffusers on a busy machine
    started = talk.of(job_id)[1]
    assert isinstance(started, Started) and started.device.kind in ("cpu", "cuda", "mps")
    kinds = {type(event) for event in talk.heard}
    assert {Progressed, Previewed} <= kinds
    data = talk.fetch(finished)
    assert digest_of(data) == finished.digest
    assert Image.open(io.BytesIO(data)).size == (192, 128)

    gateway.process.terminate()
    output, errors = gateway.process.communicate(timeout=PATIENCE_S)
    assert json.loads(output) == {"torch": False}, errors


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "embedded"])
def test_the_same_file_to_the_last_byte_after_kills(
    start: Start, connect: Connect, tiny_models: ModelSet, two_people: RenderRequest, name: str
) -> None:
    """Killed once in each stage that takes steps: the worker, the gateway, the worker."""
    size = (192, 128) if name == "tiny" else (576, 384)
    request = replace(resized(two_people, *size), settings=replace(two_people.settings, steps=20))
    settings = {"model_folders": [str(tiny_models.folder)], "worker_command": [sys.executable, "-c", WORKER]}
    gateway = start(**settings)
    talk = connect(gateway)
    undisturbed = talk.hear_until(Finished, talk.submit(request, models=name), timeout_s=400)

    job_id = talk.submit(request, models=name)
    for stage in ("instances", "inpaint", "enlarge"):
        while not (isinstance(event := talk.hear(), Progressed) and event.stage == stage and event.step > 2):
            pass
        if stage == "inpaint":
            gateway.kill()
            gateway = start(gateway, **settings)
            talk = connect(gateway)
            talk.say(Subscribe(job_id=job_id))
        else:
            gateway.worker().kill()
    assert talk.hear_until(Finished, job_id, timeout_s=400).digest == undisturbed.digest
    assert attempts(talk.of(job_id)) == [1, 2, 3, 4]
