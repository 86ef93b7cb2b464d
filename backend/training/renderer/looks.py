"""The vocabulary of the procedural world: colours, people and backgrounds, and the words for them."""

import msgspec
import numpy as np

Colour = tuple[int, int, int]  # RGB, 0..255

GARMENT_COLOURS: dict[str, Colour] = {
    "red": (205, 32, 36),
    "blue": (36, 72, 200),
    "green": (30, 140, 52),
    "yellow": (238, 208, 30),
    "orange": (240, 128, 20),
    "purple": (125, 40, 160),
    "pink": (242, 130, 175),
    "white": (242, 242, 242),
    "grey": (128, 128, 132),
    "black": (28, 28, 32),
}
HAIR_COLOURS: dict[str, Colour] = {
    "black": (24, 20, 22),
    "brown": (96, 58, 30),
    "blond": (232, 200, 104),
    "ginger": (196, 84, 24),
    "grey": (176, 176, 180),
}
SKIN_COLOURS: tuple[Colour, ...] = ((244, 208, 180), (224, 172, 132), (172, 116, 78), (108, 70, 48))
PERSON_NOUNS = ("person", "man", "woman")

# The phrases that name each background in a caption; the first is the usual one.
SCENE_PHRASES: dict[str, tuple[str, ...]] = {
    "plaza": ("a city plaza", "a plaza", "a town square", "a city square"),
    "street": ("a city street", "a street", "a road in a city"),
    "night": ("a city at night", "a street at night"),
    "forest": ("a forest", "a pine forest", "a dark forest", "the woods"),
    "park": ("a park", "a green park", "a meadow", "a grassy field"),
    "beach": ("a sandy beach", "a beach", "a beach by the sea"),
    "snow": ("a snowy field", "a snowy landscape", "a field of snow"),
    "desert": ("a desert", "a sandy desert", "desert dunes"),
    "mountains": ("a mountain landscape", "mountains", "a rocky mountain valley"),
    "room": ("an indoor room", "a room", "a living room"),
    "plain": ("plain background", "a plain background", "a studio"),
}
SCENES = tuple(SCENE_PHRASES)


class Look(msgspec.Struct, frozen=True):
    """What a person wears and is."""

    noun: str  # one of PERSON_NOUNS
    shirt: str  # key of GARMENT_COLOURS
    trousers: str  # key of GARMENT_COLOURS
    hair: str  # key of HAIR_COLOURS
    skin: int  # index into SKIN_COLOURS; captions do not name it
    short_sleeves: bool


def draw_look(random: np.random.Generator) -> Look:
    """Return a random look; shirt and trousers have different colours nine times in ten."""
    garments = list(GARMENT_COLOURS)
    shirt, trousers = random.choice(garments), random.choice(garments)
    if shirt == trousers and random.random() < 0.9:
        trousers = garments[(garments.index(shirt) + int(random.integers(1, 10))) % 10]
    return Look(
        noun=PERSON_NOUNS[random.choice(3, p=(0.6, 0.2, 0.2))],
        shirt=str(shirt),
        trousers=str(trousers),
        hair=str(random.choice(list(HAIR_COLOURS))),
        skin=int(random.integers(len(SKIN_COLOURS))),
        short_sleeves=bool(random.random() < 0.35),
    )


def describe_person(look: Look, random: np.random.Generator | None = None) -> str:
    """Return the words for one person: the usual form, or without fail a random variation of it.

    The usual form, taken where `random` is None and in 60 % of draws, is "a person with a red shirt, blue
    trousers and black hair".
    """
    shirt, trousers, hair = f"{_article(look.shirt)} {look.shirt} shirt", f"{look.trousers} trousers", f"{look.hair} hair"
    usual = f"a {look.noun} with {shirt}, {trousers} and {hair}"
    if random is None or random.random() < 0.6:
        return usual
    forms = (
        f"a {look.noun} with {hair}, {shirt} and {trousers}",
        f"a {look.noun} in {shirt} and {trousers}, {hair}",
        f"a {look.noun} with {hair} wearing {shirt} and {trousers}",
        f"a {look.noun} wearing {trousers} and {shirt}, with {hair}",
        f"a {look.noun} with {trousers}, {shirt} and {hair}",
        f"a {look.hair}-haired {look.noun} wearing {shirt} and {trousers}",
        f"a {look.noun} with {shirt} and {trousers}",
    )
    return forms[int(random.integers(len(forms)))]


def describe_scene(scene: str, random: np.random.Generator | None = None) -> str:
    """Return a phrase that names `scene`, the usual one in 60 % of draws."""
    phrases = SCENE_PHRASES[scene]
    if random is None or random.random() < 0.6:
        return phrases[0]
    return phrases[int(random.integers(len(phrases)))]


def write_caption(scene: str, looks: list[Look], random: np.random.Generator) -> str:
    """Return a caption of a view: its people from left to right, its background, or both.

    Views are captioned at generation time with the people's prompts alone, with the scene's prompt before
    them, or with the scene's prompt alone where nobody is in view; the mix covers all of these.
    """
    background = describe_scene(scene, random)
    people = [describe_person(look, random) for look in looks]
    if not people:
        return background
    joined = ", ".join(people) if random.random() < 0.75 else " and ".join(people)
    choice = random.random()
    if choice < 0.45:
        return f"{background}, {joined}"
    if choice < 0.8:
        return f"{joined}, {background}"
    return joined


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
