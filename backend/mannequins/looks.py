"""The vocabulary of the procedural world: colours, people and backgrounds, and the words for them."""

from typing import Literal

import msgspec
import numpy as np

Colour = tuple[int, int, int]  # RGB, 0..255
Garment = Literal["trousers", "shorts", "skirt", "dress"]
HairLength = Literal["short", "long", "curly"]
Hat = Literal["none", "hat", "cap"]
Prop = Literal["none", "ball", "bag", "backpack"]

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
    """What a person wears, carries and is. Colours are keys of GARMENT_COLOURS."""

    noun: str  # one of PERSON_NOUNS
    shirt: str  # colour of the upper garment: the shirt or the dress
    trousers: str  # colour of the lower garment: trousers, shorts or skirt; that of `shirt` for a dress
    hair: str  # key of HAIR_COLOURS
    skin: int  # index into SKIN_COLOURS; captions do not name it
    short_sleeves: bool
    garment: Garment = "trousers"
    hair_length: HairLength = "short"
    hat: Hat = "none"
    hat_colour: str = "red"
    prop: Prop = "none"
    prop_colour: str = "red"


def draw_look(random: np.random.Generator) -> Look:
    """Return a random look; upper and lower garment have different colours nine times in ten, but for dresses."""
    garments = list(GARMENT_COLOURS)
    noun = PERSON_NOUNS[random.choice(3, p=(0.5, 0.25, 0.25))]
    woman = noun == "woman"
    wear: tuple[Garment, ...] = ("trousers", "shorts", "skirt", "dress")
    garment = wear[random.choice(4, p=(0.35, 0.1, 0.25, 0.3) if woman else (0.68, 0.14, 0.08, 0.1))]
    lengths: tuple[HairLength, ...] = ("short", "long", "curly")
    hats: tuple[Hat, ...] = ("none", "hat", "cap")
    props: tuple[Prop, ...] = ("none", "ball", "bag", "backpack")
    shirt, trousers = random.choice(garments), random.choice(garments)
    if shirt == trousers and random.random() < 0.9:
        trousers = garments[(garments.index(shirt) + int(random.integers(1, 10))) % 10]
    return Look(
        noun=noun,
        shirt=str(shirt),
        trousers=str(shirt if garment == "dress" else trousers),
        hair=str(random.choice(list(HAIR_COLOURS))),
        skin=int(random.integers(len(SKIN_COLOURS))),
        short_sleeves=bool(random.random() < 0.35),
        garment=garment,
        hair_length=lengths[random.choice(3, p=(0.2, 0.6, 0.2) if woman else (0.8, 0.12, 0.08))],
        hat=hats[random.choice(3, p=(0.82, 0.1, 0.08))],
        hat_colour=str(random.choice(garments)),
        prop=props[random.choice(4, p=(0.82, 0.06, 0.06, 0.06))],
        prop_colour=str(random.choice(garments)),
    )


def describe_person(look: Look, random: np.random.Generator | None = None) -> str:
    """Return the words for one person: the usual form, or where `random` is given, in 40 % of draws, one of seven others.

    The usual form names all but skin and sleeves: "a person with a red shirt, blue trousers and black hair",
    "a woman with a green dress, long grey hair and a white hat, holding a red ball". The others name it in another order,
    and may leave out the hat, what is carried, and the hair or its length.
    """
    dressed = garment_phrases(look)
    varied = random is not None and random.random() >= 0.6
    hair = f"{look.hair} hair" if look.hair_length == "short" else f"{look.hair_length} {look.hair} hair"
    hat = [] if look.hat == "none" else [f"{_article(look.hat_colour)} {look.hat_colour} {look.hat}"]
    carried = _carried(look)
    usual = f"a {look.noun} with {_join([*dressed, hair, *hat])}{carried}"
    if random is None or not varied:
        return usual
    hat = hat if random.random() < 0.8 else []
    carried = carried if random.random() < 0.8 else ""
    forms = (
        f"a {look.noun} with {_join([hair, *hat, *dressed])}{carried}",
        f"a {look.noun} in {_join([*dressed, *hat])}, {hair}{carried}",
        f"a {look.noun} with {hair} wearing {_join([*dressed, *hat])}{carried}",
        f"a {look.noun} wearing {_join([*reversed(dressed), *hat])}, with {hair}{carried}",
        f"a {look.noun} with {_join([*reversed(dressed), hair, *hat])}{carried}",
        f"a {look.hair}-haired {look.noun} wearing {_join([*dressed, *hat])}{carried}",
        f"a {look.noun} with {_join([*dressed, *hat])}{carried}",
    )
    return forms[int(random.integers(len(forms)))]


def garment_phrases(look: Look) -> list[str]:
    """Return the words for the garments, upper first: ["a red shirt", "blue trousers"] or ["a red dress"]."""
    if look.garment == "dress":
        return [f"{_article(look.shirt)} {look.shirt} dress"]
    lower = f"{look.trousers} {look.garment}"
    shirt = f"{_article(look.shirt)} {look.shirt} shirt"
    return [shirt, f"{_article(look.trousers)} {lower}" if look.garment == "skirt" else lower]


def describe_scene(scene: str, random: np.random.Generator | None = None) -> str:
    """Return a phrase that names `scene`: the usual one, or where `random` is given, in 40 % of draws, any of them."""
    phrases = SCENE_PHRASES[scene]
    if random is None or random.random() < 0.6:
        return phrases[0]
    return phrases[int(random.integers(len(phrases)))]


def write_caption(scene: str, looks: list[Look], random: np.random.Generator) -> str:
    """Return a caption of a view: its people from left to right, its background, or both."""
    return "".join(text for _, text in write_clauses(scene, looks, random))


def write_clauses(scene: str, looks: list[Look], random: np.random.Generator) -> list[tuple[int, str]]:
    """Return the pieces of a caption, each with whom it is about: 1 + index into `looks`, 0 = nobody.

    Views are captioned at generation time with the people's prompts alone, with the scene's prompt before
    them, or with the scene's prompt alone where nobody is in view; the mix covers all of these.
    """
    background = (0, describe_scene(scene, random))
    people = [(number, describe_person(look, random)) for number, look in enumerate(looks, 1)]
    if not people:
        return [background]
    joint = (0, ", " if random.random() < 0.75 else " and ")
    joined = [piece for person in people for piece in (joint, person)][1:]
    choice = random.random()
    if choice < 0.45:
        return [background, (0, ", "), *joined]
    if choice < 0.8:
        return [*joined, (0, ", "), background]
    return joined


def _carried(look: Look) -> str:
    if look.prop == "none":
        return ""
    thing = f"{_article(look.prop_colour)} {look.prop_colour} {look.prop}"
    return f", with {thing}" if look.prop == "backpack" else f", holding {thing}"


def _join(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
