"""What a person is shown of a card and of figures: every letter of it, and nothing that was not measured."""

from dataclasses import replace
from pathlib import Path

import pytest

from geocamnet.console import show_benchmark, show_card, show_metrics
from geocamnet.runtime.benchmark import CPU, STAGES, Benchmark, Timing
from geocamnet.runtime.model import load


@pytest.fixture
def shown(capsys):
    """Return what was shown since the last call, without frames and breaks of lines."""
    return lambda: "".join(letter for letter in capsys.readouterr().out if letter not in "│┃" and not letter.isspace())


@pytest.mark.parametrize(
    "text", ["[red]x[/red] [bad", "see [1] and [/b]", "[CC BY 4.0] [doi:10.1/x]", ":warning: a\\[b]"]
)
def test_a_card_is_shown_as_it_is_written(tiny_card, shown, text):
    classes = tuple(replace(one, title=f"{one.title} {text}") for one in tiny_card.classes)
    show_card(replace(tiny_card, name=text, limits=text, attribution=text, classes=classes, data={"name": text}))
    assert shown().count("".join(text.split())) == 4 + len(classes)


def test_figures_are_shown_under_names_as_they_are_written(shown):
    show_metrics({"split": "test [1]", "n": 3, "model": {"accuracy": 0.5}, "baselines": {"[b]": {"accuracy": 0.25}}})
    told = shown()
    assert "test[1]:3photographs" in told
    assert "[b]0.250" in told


def test_model_files_are_shown_under_their_names_in_a_benchmark(shown):
    timing = Timing(Path("[red]a.onnx"), "fp32", CPU, 1, (8, 8), {one: [1.0, 2.0] for one in STAGES})
    show_benchmark(Benchmark((timing,), repeats=2, peak_memory_mb=None))
    assert "[red]a.onnx" in shown()


def test_sections_that_are_not_known_are_not_counted(tiny_card, shown):
    data = {"name": "rock", "photographs": {"train": 5, "test": 2}, "sections": {"train": 5, "test": 2}}
    for known, expected in ((True, "sections:5train,2test"), (False, "sections:notknown"), (None, "sections:5train")):
        show_card(replace(tiny_card, data=data if known is None else data | {"card": {"sections": {"known": known}}}))
        told = shown()
        assert "photographs:5train,2test" in told
        assert expected in told
    show_card(load().card)
    assert "sections:notknown" in shown()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "int8"),
        ({"photographs": 3}, "int8"),
        ({"photographs": 3, "same_name": 0.5}, "int8: on 3 validation photographs the name of fp32 in 50.0 %"),
        ({"map_correlation": 0.9}, "int8"),
    ],
)
def test_of_a_precision_is_shown_what_its_card_tells(tiny_card, shown, changed, expected):
    show_card(replace(tiny_card, precision="int8", quantisation=changed))
    assert f"precision{''.join(expected.split())}labels" in shown()
