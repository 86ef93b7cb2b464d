"""What a picture would take: its levels and views, the time that earlier ones took here, and whether it fits."""

from ...protocol import Canvas, DeviceInfo, Estimated, Finished, Refusal, RenderRequest, StageTime, Started
from ..models.sets import ModelSet
from ..planning.expect import Workload, foresee, least_memory_bytes
from .ledger import Job, Ledger

PICTURES = 8  # the newest ones, from which the time is told
BY_EVALUATIONS = ("instances", "inpaint", "enlarge")  # stages whose time goes with the network's evaluations
LOADING = "load"  # is no part of the picture; the time of all others goes with the canvases


class Estimator:
    """Tells from the ledger, which holds every request with the time of each of its stages; nothing else is measured."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def estimate(self, key: str, request: RenderRequest, models: ModelSet, device: DeviceInfo | None) -> Estimated:
        """request: checked, and it fits. device: on which it would be made, where that is known."""
        work = foresee(request, models)
        return Estimated(
            key=key,
            canvases=tuple(Canvas(width=s.width, height=s.height, views=n) for s, n in work.canvases),
            people=work.people,
            evaluations=work.evaluations,
            seconds=self._seconds(work, models, device),
            memory_bytes=least_memory_bytes(request.width, request.height),
        )

    def _seconds(self, work: Workload, models: ModelSet, device: DeviceInfo | None) -> float | None:
        rows = pixels = evaluating_s = painting_s = 0.0
        for job in self._ledger.finished(models.name, PICTURES):
            times = self._times(job, device)
            if times and job.submit:
                try:
                    done = foresee(job.submit.request, models)
                except Refusal:  # the set has lost what that picture was made with, or would make it no more
                    continue
                rows, pixels = rows + done.rows, pixels + done.canvas_pixels
                evaluating_s += sum(time.seconds for time in times if time.stage in BY_EVALUATIONS)
                painting_s += sum(time.seconds for time in times if time.stage not in (LOADING, *BY_EVALUATIONS))
        if not rows:
            return None
        return work.rows * evaluating_s / rows + work.canvas_pixels * painting_s / pixels

    def _times(self, job: Job, device: DeviceInfo | None) -> tuple[StageTime, ...]:
        """The times of a finished job; none where it went on from a checkpoint, or was made on another device."""
        events = self._ledger.events(job.id)
        started = [event for event in events if isinstance(event, Started)]
        elsewhere = device is not None and any(event.device.name != device.name for event in started)
        finished = events[-1]
        return finished.times if isinstance(finished, Finished) and len(started) == 1 and not elsewhere else ()
