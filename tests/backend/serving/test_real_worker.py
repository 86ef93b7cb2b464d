"""The worker process as it is shipped, with toy-sized models: the pipeline itself behind the gateway."""

import io
import json
import sys

import pytest
from beyondscene.backend.models.sets import ModelSet
from beyondscene.protocol import Finished, Previewed, Progressed, RenderRequest, Started, digest_of
from msgspec.structs import replace
from PIL import Image

from .conftest import Connect, Start
from .talk import attempts

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
    two_people = replace(two_people, settings=replace(two_people.settings, steps=60))
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

    again = talk.submit(two_people, models=tiny_models.name)
    while not (isinstance(event := talk.hear(), Progressed) and event.stage == "enlarge" and event.step > 5):
        pass
    gateway.worker().kill()
    assert talk.hear_until(Finished, again, timeout_s=400).digest == finished.digest
    assert attempts(talk.of(again)) == [1, 2]

    gateway.process.terminate()
    output, errors = gateway.process.communicate(timeout=60)
    assert json.loads(output) == {"torch": False}, errors
