"""What a request leaves to the model set."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from beyondscene.backend.models.sets import ModelSet, read_model_set
from beyondscene.backend.planning.resolve import digest_making
from beyondscene.protocol import RenderRequest, RenderSettings
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
