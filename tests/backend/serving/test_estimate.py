"""What a picture would take, told before it is made."""

import uuid
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from beyondscene.backend.gateway.admission import Admission
from beyondscene.backend.gateway.estimate import Estimator
from beyondscene.backend.gateway.files import JobFiles, Quota
from beyondscene.backend.gateway.jobs import Jobs
from beyondscene.backend.gateway.ledger import Ledger
from beyondscene.backend.gateway.settings import ServeSettings
from beyondscene.backend.planning.expect import check_memory, largest_size, least_memory_bytes
from beyondscene.protocol import (
    KEYPOINT_NAMES,
    Character,
    DeviceInfo,
    Estimate,
    Estimated,
    JobDone,
    Keypoint,
    RenderRequest,
    RequestError,
    StageTime,
    Submit,
)
from msgspec.structs import replace

from .conftest import Connect, Start
from .gateway_process import painted
from .talk import Talk, picture

CPU = DeviceInfo(kind="cpu", name="CPU, 2 cores")
SIZE = {"media_type": "image/png", "size_bytes": 9, "digest": "0" * 64}


def tall_person(x: float) -> Character:
    places = [(x + (n % 3) * 150, 30 + n * 25) for n in range(len(KEYPOINT_NAMES))]
    return Character(id=f"{x}", name="Ana", prompt="a sailor", keypoints=tuple(Keypoint(x=x, y=y, depth=4) for x, y in places))


def far_away_person() -> Character:
    joints = (Keypoint(x=9, y=9, depth=1), *(Keypoint(x=9, y=19, depth=1),) * 17)
    return Character(id="a", name="Ann", prompt="a baker", keypoints=joints)


def render(jobs: Jobs, request: RenderRequest, seconds: float, device: DeviceInfo = CPU, starts: int = 1) -> None:
    """A job that finished after so many seconds of denoising, half as many of decoding, and a minute of loading."""
    job = jobs.submit(Submit(job_id=str(uuid.uuid4()), request=request))
    for _ in range(starts):
        job = jobs.start(replace(job, state="queued"), device)
    times = (
        StageTime(stage="load", seconds=60),
        StageTime(stage="inpaint", seconds=seconds / 4),
        StageTime(stage="enlarge", level=1, seconds=seconds * 3 / 4),
        StageTime(stage="decode", level=1, seconds=seconds / 2),
    )
    done = JobDone(job_id=job.id, attempt=job.attempt, width=request.width, height=request.height, times=times, **SIZE)
    jobs.finish(job, done)


def test_levels_views_and_people_are_those_of_the_plan(tmp_path: Path) -> None:
    estimator = Estimator(Ledger(tmp_path / "ledger.sqlite"))
    request = replace(picture(side_px=512), characters=(tall_person(200),))
    told = estimator.estimate("7", request, painted("embedded"), CPU)
    assert [(one.width, one.height) for one in told.canvases] == [(128, 128), (256, 256), (512, 512)]
    assert told.people == 1 and told.key == "7" and not told.obstacle
    empty = estimator.estimate("8", replace(request, characters=()), painted("embedded"), CPU)
    assert [one.views for one in empty.canvases] == [1, 9, 49]  # Algorithm 4 without people
    assert [one.views for one in told.canvases] > [1, 9, 49] and told.canvases[2].views > 49  # denser where she stands
    assert told.evaluations > empty.evaluations


def test_time_is_unknown_first_and_then_that_of_pictures_made_here(tmp_path: Path) -> None:
    jobs = Jobs(Ledger(tmp_path / "ledger.sqlite"))
    estimator, models = Estimator(jobs.ledger), painted("embedded")
    request = picture(side_px=256)
    assert estimator.estimate("1", request, models, CPU).seconds is None
    render(jobs, request, 9, device=DeviceInfo(kind="cuda", name="a card that is gone"))
    render(jobs, request, 900, starts=2)  # went on from a checkpoint: its times are not those of the whole
    assert estimator.estimate("1", request, models, CPU).seconds is None
    render(jobs, request, 10)
    assert estimator.estimate("1", request, models, CPU).seconds == pytest.approx(15)  # loading is not counted
    more_steps = replace(request, settings=replace(request.settings, steps=40))
    assert estimator.estimate("1", more_steps, models, CPU).seconds == pytest.approx(25, rel=0.05)
    unguided = replace(request, settings=replace(request.settings, guidance_scale=1))
    assert estimator.estimate("1", unguided, models, CPU).seconds == pytest.approx(10)
    render(jobs, replace(request, settings=replace(request.settings, few_steps=True)), 900)  # with a LoRA that the set has lost
    assert estimator.estimate("1", request, models, CPU).seconds == pytest.approx(15)
    assert estimator.estimate("1", request, painted("other"), CPU).seconds is None
    render(jobs, replace(picture(side_px=1024), characters=(far_away_person(),)), 900)  # as was possible once
    assert estimator.estimate("1", request, models, CPU).seconds == pytest.approx(15)
    larger = estimator.estimate("1", picture(side_px=512), models, CPU)
    assert larger.seconds and larger.seconds > 50


def test_a_picture_that_cannot_fit_is_refused_with_a_size_that_does() -> None:
    memory = psutil.virtual_memory().total
    width, height = largest_size(3000, 1500, memory)
    assert width % 8 == height % 8 == 0 and abs(width - 2 * height) <= 16
    assert least_memory_bytes(width, height) <= memory < least_memory_bytes(width + 16, height + 16)
    check_memory(width, height)
    if least_memory_bytes(65536, 65536) > memory:
        with pytest.raises(RequestError, match=r"65536x65536 px needs \d+ GB of memory or more.*choose \d+x\d+ px at most"):
            check_memory(65536, 65536)


def test_no_job_is_taken_that_the_machine_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=10**9, available=10**8))
    settings = ServeSettings(data_folder=tmp_path, ready_file=tmp_path / "ready.json")
    quota = Quota(Ledger(tmp_path / "ledger.sqlite"), JobFiles(tmp_path), settings.results_limit_bytes)
    admission = Admission(settings, lambda extra: [painted("embedded")], quota)
    with pytest.raises(RequestError, match=r"16384x16384 px needs \d GB of memory or more"):
        admission.choose("embedded", picture(side_px=16384))


def test_a_client_is_told_what_it_takes_or_what_is_in_the_way(start: Start, connect: Connect) -> None:
    talk: Talk = connect(start())
    talk.say(Estimate(key="a", request=picture(side_px=256)))
    talk.say(Estimate(key="b", request=picture(prompt="")))
    talk.say(Estimate(key="c", request=picture(), models="half"))
    talk.say(Estimate(key="d", request=replace(picture(side_px=1024), characters=(far_away_person(),))))
    told = [talk.hear_until(Estimated) for _ in range(4)]
    assert [one.key for one in told] == ["a", "b", "c", "d"]
    assert [len(one.canvases) for one in told] == [2, 0, 0, 0]
    assert not told[0].obstacle
    assert "scene prompt is empty" in told[1].obstacle
    assert "'half' lacks its controlnet model" in told[2].obstacle
    assert "The joints of 'Ann' span 10 px, which are 1.2 in the base image" in told[3].obstacle
