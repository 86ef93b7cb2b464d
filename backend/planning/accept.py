"""What every way in asks of a request before any work."""

from pathlib import Path

from ...protocol import RenderRequest, check_request
from ..models.extras import gather_extras
from ..models.sets import ModelSet
from .plan import plan_sizes
from .resolve import resolve_request


def accept_request(request: RenderRequest, models: ModelSet) -> tuple[RenderRequest, dict[str, Path]]:
    """The request with its settings resolved, and the file of each of its LoRAs and embeddings (see `gather_extras`).

    Raises RequestError for a request that breaks a rule, and ModelSetError for one that these models cannot draw. Whether the
    machine can hold the picture is not asked: see `check_memory`.
    """
    check_request(request)
    request = resolve_request(request, models)
    plan_sizes(request, models.training_resolution_px, models.latent_downsampling)
    return request, gather_extras(request, models)
