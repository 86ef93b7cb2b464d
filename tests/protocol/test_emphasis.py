"""Marks of emphasis in prompts: which words count how much, and what is refused."""

import pytest
from beyondscene.protocol import RenderRequest, RequestError, check_request
from beyondscene.protocol.emphasis import read_emphasis, without_emphasis
from msgspec.structs import replace


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a plain man", [("a plain man", 1)]),
        ("a (red coat:1.3), hat", [("a ", 1), ("red coat", 1.3), (", hat", 1)]),
        ("((a hat:1.5) on:.5) top", [("a hat", 0.75), (" on", 0.5), (" top", 1)]),
        ("((old) and grey: 2 )", [("(old) and grey", 2)]),
        (r"(saber \(fate\):1.1)", [("saber (fate)", 1.1)]),
        ("16:9), (seen from afar), ((at 4:30", [("16:9), (seen from afar), ((at 4:30", 1)]),
        ("", []),
    ],
)
def test_marks_say_how_much_their_words_count(text: str, pieces: list[tuple[str, float]]) -> None:
    assert read_emphasis(text) == pieces
    assert without_emphasis(text) == "".join(words for words, _ in pieces)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a (red coat:13)", r"'Ana' lets 'red coat' count 13 times, but words count 0 to 3 times: write another number, "),
        ("a (hat:-1)", "'hat' count -1 times"),
        ("<lora:clay:0.8> a man", "'Ana' has '<lora:clay:0.8>', which no prompt can load: take it out, and name "),
    ],
)
def test_what_no_prompt_can_ask_for_is_refused(two_people: RenderRequest, text: str, sentence: str) -> None:
    ana, bo = two_people.characters
    check_request(replace(two_people, characters=(replace(ana, prompt="a (red coat:3), (fog:0)"), bo)))
    for changes in ({"prompt": text}, {"negative_prompt": text}, {"part_prompts": {"head": text}}):
        with pytest.raises(RequestError, match=sentence):
            check_request(replace(two_people, characters=(replace(ana, **changes), bo)))
