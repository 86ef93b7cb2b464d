"""What a request leaves to the model set."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from beyondscene.backend.models.sets import ModelSet, read_model_set
from beyondscene.backend.planning.expect import foresee
from beyondscene.backend.planning.resolve import background_strength, digest_making, resolve_request
from beyondscene.protocol import ArrayRef, Backdrop, RenderRequest, RenderSettings
from msgspec.structs import replace


@pytest.mark.parametrize("advice", [{"steps": 9}, {"guidance_scale": 9.0}, {"framing_prompt": "whole"}])
def test_checkpoints_are_others_where_the_model_set_recommends_something_else(
    two_people: RenderRequest, tiny_models: ModelSet, tmp_path: Path, advice: dict[str, Any]
) -> None:
    request = replace(two_people, settings=RenderSettings())
    copy = Path(shutil.copytree(tiny_models.folder, tmp_path / "copy"))
    before = digest_making(request, tiny_models)
    assert digest_making(request, read_model_set(copy)) == before
    assert digest_making(replace(request, seed=request.seed + 1), tiny_models) != before
    manifest = json.loads((copy / "modelset.json").read_bytes())
    (copy / "modelset.json").write_text(json.dumps(manifest | advice))
    assert digest_making(request, read_model_set(copy)) != before


def test_a_backdrop_is_kept_as_well_as_a_picture_that_is_enlarged_unless_it_says_otherwise(
    two_people: RenderRequest, tiny_models: ModelSet
) -> None:
    settings = RenderSettings(steps=8, t_b=0.25, inpaint_strength=1)
    image = ArrayRef(digest="0" * 64, dtype="uint8", shape=(128, 192, 3))
    for backdrop, strength in ((None, 1), (Backdrop(image=image), 0.25), (Backdrop(image=image, strength=0.5), 0.5)):
        request = resolve_request(replace(two_people, settings=settings, backdrop=backdrop), tiny_models)
        assert background_strength(request) == strength
        assert foresee(request, tiny_models).steps == (8, 8 * strength, 2)
