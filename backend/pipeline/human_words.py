"""Which words of a prompt are about people: who they are, and what they do. The HcP layer has keys of its own for these."""

from transformers import CLIPTokenizer

_END = "</w>"  # of a word, in CLIP's tokens
_PEOPLE = """
person people man men woman women waitress boy girl child children kid baby adult teenager teen lady gentleman guy human
figure body couple crowd group friend family brother sister mother father daughter son grandmother grandfather dancer
ballerina acrobat gymnast athlete runner swimmer skater skier surfer climber cyclist rider boxer wrestler fencer archer player
goalkeeper footballer cheerleader yogi juggler clown performer actor actress singer musician guitarist drummer violinist pianist
conductor soldier warrior knight samurai ninja king queen prince princess monk priest wizard witch pirate cowboy detective
policeman firefighter doctor nurse chef waiter worker builder farmer fisherman hunter student teacher scientist astronaut pilot
sailor driver tourist traveller hiker shopper businessman businesswoman bride groom hero superhero elf giant angel android
"""
_ACTIONS = """
dance jump run walk stand sit kneel crouch lie lying lean bend stretch kick punch throw catch climb swim fly fall yoga ballet
handstand cartwheel somersault split lunge squat pose posture gesture acrobatics gymnastics parkour karate taekwondo
seated arms legs hands feet
"""
_NOT_DONE = """
building evening morning ceiling clothing lighting painting drawing wedding spring string thing something everything nothing
anything during wearing including according surrounding stunning amazing interesting glowing shining blooming flowing burning
melting boiling railing setting sibling sterling
"""  # in -ing, and neither what a body does nor how it is held
# ends of plurals, and of verbs, each with the end that it takes the place of
_PLURALS = {"s": "", "ches": "ch", "sses": "ss", "oes": "o", "ies": "y", "men": "man"}
HUMAN, OTHERS = frozenset(f"{_PEOPLE} {_ACTIONS}".split()), frozenset(_NOT_DONE.split())


def is_human(word: str) -> bool:
    """Whether it names a person, an action or a posture, in the plural, too; longer words in -ing are taken for actions but
    for some."""
    word = word.lower()
    singulars = {word.removesuffix(end) + single for end, single in _PLURALS.items() if word.endswith(end)}
    return bool(HUMAN & {word, *singulars}) or (len(word) > 5 and word.endswith("ing") and word not in OTHERS)


def mark_human(tokenizer: CLIPTokenizer, ids: list[int]) -> list[bool]:
    """Which of these tokens, without markers, belong to such a word, all of its pieces alike."""
    marks: list[bool] = []
    pieces: list[str] = []
    for token in tokenizer.convert_ids_to_tokens(ids):
        pieces.append(token.removesuffix(_END))
        if token.endswith(_END):
            marks += [is_human("".join(pieces))] * len(pieces)
            pieces = []
    return marks + [False] * len(pieces)
