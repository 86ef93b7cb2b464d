"""Marks of emphasis in prompts: which words count how much, and what is refused."""

import pytest
from beyondscene.protocol import RenderRequest, RequestError, check_request
from beyondscene.protocol.dialects import find_dialect
from beyondscene.protocol.emphasis import escape_open, read_emphasis, without_emphasis
from msgspec.structs import replace


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a plain man", [("a plain man", 1)]),
        ("a (red coat:1.3), hat", [("a ", 1), ("red coat", 1.3), (", hat", 1)]),
        ("((a hat:1.5) on:.5) top", [("a hat", 0.75), (" on", 0.5), (" top", 1)]),
        ("((old) and grey: 2 )", [("(old) and grey", 2)]),
        (r"(saber \(fate\):1.1) \[x\]", [("saber (fate)", 1.1), (" [x]", 1)]),
        ("(fog:1.2)(mist:1.2), (hat:1.1)s", [("fog", 1.2), (" ", 1), ("mist", 1.2), (", ", 1), ("hat", 1.1), ("s", 1)]),
        ("16:9), (seen from afar), ((at 4:30", [("16:9), (seen from afar), ((at 4:30", 1)]),
        ("", []),
    ],
)
def test_marks_say_how_much_their_words_count(text: str, pieces: list[tuple[str, float]]) -> None:
    assert read_emphasis(text) == pieces
    assert without_emphasis(text) == "".join(words for words, _ in pieces)
    assert read_emphasis(escape_open(text)) == pieces


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a (red coat:13)", r"'Ana' lets 'red coat' count 13 times, but words count 0 to 3 times: write another number, "),
        ("a (hat:-1)", "'hat' count -1 times"),
        ("<lora:clay:0.8> a man", "'Ana' has '<lora:clay:0.8>', which no prompt can load: take it out, and name the LoRA by "),
        ("bad, embedding:neg/easy", "has 'embedding:neg/easy', which names no embedding: write embedding: and its file's name"),
        ("bad, (embedding: easy:1.2)", "has 'embedding: easy:1.2.', which names no embedding"),
        ("a man, <easynegative>", "has '<easynegative>', which nothing here loads: write embedding:name for an embedding, or "),
        ("a <hypernet:ink:1> man", "has '<hypernet:ink:1>', which nothing here loads"),
        ("a man Negative prompt: blurry Steps: 20, Sampler: Euler a", "'Negative prompt:', as the record of another program's"),
        ("a man. Steps: 20, Sampler: Euler a", "'Steps: 20, Sampler:', as the record"),
        ("a [fog]", r"has '\[fog\]', which neither changes with the steps nor counts less: write the words"),
        ("a [coat:hat:10]", r"has '\[coat:hat:10\]', which neither changes"),
        ("a {red|blue} coat", r"has '\{red\|blue\}', from which nothing is chosen: write the words that you want"),
        ("a __colour__ coat", "has '__colour__', from which nothing is chosen"),
        ("red coat\nBREAK\nblue hat", "has 'BREAK', which divides no prompt: leave it out"),
        ("a man AND a dog :1.2", "has 'AND', which divides no prompt"),
        ("a ((red coat))", r"has '\(\(red coat\)\)', which makes nothing count more: write \(red coat:1.2\)"),
        ("a (red coat)1.3", r"has '\(red coat\)1.3', which makes nothing count more"),
        ("a {{red}} coat", r"has '\{red\}', which makes nothing count more"),
        ("a \uff08coat\uff1a1.3\uff09", "has '.coat.1.3.', which is no emphasis: write .red coat:1.3. in these signs"),
        ("a (coat\uff1a1.3)", "has '.coat.1.3.', which is no emphasis"),
        ("a \uff08coat:1.3)", "has '.coat:1.3.', which is no emphasis"),
        ("a coat++", r"has 'coat\+\+', which makes nothing count more"),
        ("a (coat:1,3)", r"has '\(coat:1,3\)', which is no emphasis: write \(red coat:1.3\)"),
        ("a (coat:1.3, hat", r"has '\(coat:1.3,', which is no emphasis"),
    ],
)
def test_what_no_prompt_can_ask_for_is_refused(two_people: RenderRequest, text: str, sentence: str) -> None:
    ana, bo = two_people.characters
    check_request(replace(two_people, characters=(replace(ana, prompt="a (red coat:3), (fog:0)"), bo)))
    for changes in ({"prompt": text}, {"negative_prompt": text}, {"part_prompts": {"head": text}}):
        with pytest.raises(RequestError, match=sentence):
            check_request(replace(two_people, characters=(replace(ana, **changes), bo)))


def test_what_people_write_is_no_mark_of_another_program(two_people: RenderRequest) -> None:
    read = (
        "a shirt that says PEACE AND LOVE",
        "A MAN AND A DOG",
        "my_file__final__v2, C++, (in his fifties) :), score_9_up, >_<, <3, 5.5+ m, a form with ______",
        "a watch with Steps: 8000, and a city",
        r"\[a\]",
    )
    for text in read:
        check_request(replace(two_people, prompt=text))


@pytest.mark.timeout(60)
def test_no_text_takes_for_ever_to_look_through() -> None:
    for text in ("[", "{|", "<lora:", "__a", "(:1", "(: ", "(:.1", "((", "a+"):
        assert find_dialect("{(" + text * (10_000 // len(text)) + " [a]")


@pytest.mark.timeout(60)
def test_brackets_and_numbers_cost_as_little_as_letters() -> None:
    """A backend looks through all prompts of a request while others wait. At a cost that grows with the square, hours."""
    for text in ("(" * 10**6, "(:" + "1" * 10**6):
        assert find_dialect(text) is None and read_emphasis(text) == [(text, 1)]
