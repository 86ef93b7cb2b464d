"""What may become a job: the model sets there are, and every rule that a submit must keep before it is queued."""

import logging
from collections.abc import Sequence

from ...protocol import ModelSetInfo, Refusal, RenderRequest, RequestError, Submit, arrays_from_frames, arrays_of
from ..models.loras import known_loras, lora_folders
from ..models.manifest import ModelSetError
from ..models.sets import ModelSet
from ..planning.accept import accept_request
from ..planning.expect import check_memory
from .allow_list import Listed
from .files import Quota
from .ledger import Job
from .room import NotNow, check_disk
from .settings import FindModelSets, ServeSettings

log = logging.getLogger(__name__)


class Admission:
    """The rules of one gateway."""

    def __init__(self, settings: ServeSettings, find_model_sets: FindModelSets, quota: Quota) -> None:
        """Raises Refusal for a folder that is no model set."""
        self._settings = settings
        self._find_model_sets = find_model_sets
        self._quota = quota
        self._models: dict[str, ModelSet] = {}
        self.look_for_models()

    def look_for_models(self) -> None:
        """Raises Refusal at the start; later a folder that went bad leaves the list as it was."""
        try:
            self._models = {found.name: found for found in self._find_model_sets(self._settings.model_folders)}
        except Refusal as error:
            if not self._models:
                raise
            log.error("the model sets stay as they were: %s", error)

    @property
    def models(self) -> tuple[ModelSetInfo, ...]:
        """What clients are told of each set."""
        return tuple(map(describe, self._models.values()))

    def folder_of(self, models: str) -> str:
        """Where the model set of this name lies; empty if it is gone."""
        found = self._models.get(models)
        return str(found.folder) if found else ""

    def waiting_jobs(self, who: Listed) -> int:
        """How many of the jobs of `who` may wait at a time, where nobody else's do."""
        return min(who.waiting_jobs, self._settings.waiting_jobs)

    def choose(self, models: str, request: RenderRequest) -> ModelSet:
        """The set of this name, complete, for a request that is sound and fits. Raises RequestError with the sentence, which
        says where the files are that it names: the client is mostly on another machine."""
        chosen = self._models.get(models)  # by name: nothing that a client says is ever a path
        if chosen is None:
            raise RequestError(
                f"There is no model set '{models}': choose one of {', '.join(self._models) or 'none'}, or start the backend "
                "with the folder or file of another one as --models-dir, in Blender as Model Sets in the preferences."
            )
        try:
            chosen.check()
            accept_request(request, chosen)
        except ModelSetError as error:
            raise RequestError(f"On the backend's machine: {error}") from error
        check_memory(request.width, request.height)
        return chosen

    def check(self, submit: Submit, payload: Sequence[memoryview | bytes], who: Listed, pending: Sequence[Job]) -> None:
        """Refuse what cannot become a picture, or not for `who`. Raises RequestError or WireError with the sentence; NotNow
        where it is only too early.

        pending: jobs in the queue, and paused ones.
        """
        if len(pending) >= self._settings.waiting_jobs:
            raise NotNow(f"{len(pending)} jobs are waiting, which is the limit: try again when some are done.")
        own = sum(job.owner == who.name for job in pending)
        if own >= who.waiting_jobs:
            sentence = f"{own} jobs of '{who.name}' are waiting, which is its limit: try again when some are done."
            raise NotNow(sentence) if own else RequestError(sentence)  # who may have none need not wait
        self._quota.check(who)
        self.choose(submit.models, submit.request)
        check_disk(submit, self._settings.data_folder)
        arrays_from_frames(submit.arrays, payload)
        for name, array in arrays_of(submit.request):
            if array not in submit.arrays:
                raise RequestError(f"{name} did not come with the request: send its array along.")


def describe(models: ModelSet) -> ModelSetInfo:
    """A set that cannot be read lacks all its roles: it must not hide the others. What is wrong with it, a request is told."""
    manifest = models.manifest
    try:
        missing = models.missing_roles
        few_steps = manifest.few_steps.steps if manifest.few_steps and models.has_few_steps else 0
    except Exception as error:  # whatever its files hold
        log.error("the model set '%s' in %s cannot be read: %r", models.name, models.folder, error)
        missing, few_steps = models.roles, 0
    return ModelSetInfo(
        name=models.name,
        training_resolution_px=models.training_resolution_px,
        missing=missing,
        steps=manifest.steps,
        loras=known_loras(lora_folders(models.folder)),
        few_steps=few_steps,
        pose_line_width_px=manifest.pose_line_width_px,
        pose_hands=manifest.pose_hands,
        pose_face=manifest.pose_face,
        pose_feet=manifest.pose_feet,
        hidden_joints=manifest.hidden_joints,
    )
