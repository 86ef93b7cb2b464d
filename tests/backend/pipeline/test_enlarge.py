"""People are looked for where their masks are, in the grid of the latents."""

import numpy as np
import pytest
from beyondscene.backend.pipeline.conditions import gather_speakers
from beyondscene.backend.pipeline.enlarge import find_people
from beyondscene.backend.planning.people import Figure, gather_people
from beyondscene.protocol import RenderRequest
from msgspec.structs import replace


@pytest.mark.parametrize("shape", [(8, 12), (9, 13), (80, 120)])
def test_people_are_where_whoever_speaks_is(two_people: RenderRequest, shape: tuple[int, int]) -> None:
    characters = tuple(replace(one, part_prompts={"head": "a hat"}) for one in two_people.characters)
    figures = []
    for row, person in enumerate(gather_people(replace(two_people, characters=characters))):
        mask = np.zeros((64, 96), bool)
        mask[5 + 30 * row, 10:30] = True  # an arm of one pixel is not lost
        figures.append(Figure(person, mask, {"head": mask & (np.arange(96) < 15)}))
    people = find_people(figures, *shape)
    assert people.any() and (people == np.any([one.mask for one in gather_speakers(figures, *shape)], 0)).all()
    assert not find_people([], *shape).any()
