"""What is kept as fastest is opened only where it is that very file, beside the one named, and hardly less right."""

import json
import logging
from dataclasses import replace

import pytest

from geocamnet.runtime import kept
from geocamnet.runtime.kept import Choice, choice_for, choices_file, keep, why_not
from geocamnet.runtime.model import load

RECORD = {
    "photographs": 122,
    "same_name": 0.99,
    "balanced_accuracy": {"fp32": 0.91, "int8": 0.905},
    "map_correlation": {"mean": 0.999, "min": 0.99},
}


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path, monkeypatch):
    monkeypatch.setenv(kept.FOLDER_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def pair(tmp_path, tiny_card, make_student):
    """Return a network's file in 32 bits and one that says it is in 8, in one folder."""
    full = make_student(tmp_path / "name.onnx", tiny_card)
    small = make_student(tmp_path / "name.int8.onnx", replace(tiny_card, precision="int8", quantisation=RECORD))
    return full, small


def keep_small(full, small, threads=1):
    chosen = Choice(small.name, load(small).sha256, threads)
    keep({load(one).sha256: chosen for one in (full, small)})


def test_without_a_choice_the_file_named_is_opened(pair, caplog):
    caplog.set_level(logging.INFO, logger="geocamnet")
    assert load(pair[0], fastest=True).path == pair[0]
    assert caplog.messages == []


def test_the_kept_file_is_opened_and_said_only_where_it_is_asked_for(pair, caplog):
    caplog.set_level(logging.INFO, logger="geocamnet")
    keep_small(*pair)
    assert load(pair[0]).path == pair[0]
    assert caplog.messages == []
    opened = load(pair[0], fastest=True)
    assert opened.path == pair[1]
    assert opened.card.precision == "int8"
    assert caplog.messages == [
        "opened name.int8.onnx in place of name.onnx, faster on this machine by geocamnet benchmark --keep (int8: "
        "the name of fp32 on 99.0% of validation photographs)"
    ]
    assert load(pair[1], fastest=True).path == pair[1]


def test_a_record_that_does_not_tell_how_many_names_stay_is_not_quoted(tmp_path, tiny_card, make_student, caplog):
    caplog.set_level(logging.INFO, logger="geocamnet")
    record = {"balanced_accuracy": RECORD["balanced_accuracy"]}
    full = make_student(tmp_path / "name.onnx", tiny_card)
    small = make_student(tmp_path / "name.int8.onnx", replace(tiny_card, precision="int8", quantisation=record))
    keep_small(full, small)
    assert load(full, fastest=True).path == small
    assert caplog.messages == [
        "opened name.int8.onnx in place of name.onnx, faster on this machine by geocamnet benchmark --keep (int8)"
    ]


def test_attitudes_are_kept_for_the_other_file(pair):
    keep_small(*pair)
    assert load(pair[0], fastest=True, all_attitudes=True).all_attitudes


@pytest.mark.parametrize("spoil", ["change", "remove", "damage"])
def test_a_file_that_is_not_what_was_measured_is_not_opened_and_that_is_said(
    pair, tiny_card, make_student, caplog, spoil
):
    full, small = pair
    keep_small(full, small)
    if spoil == "change":
        make_student(small, replace(tiny_card, precision="int8", quantisation=RECORD, limits="other"))
    elif spoil == "remove":
        small.unlink()
    else:
        small.write_bytes(small.read_bytes()[:500])
    assert load(full, fastest=True).path == full
    assert "name.int8.onnx, chosen by geocamnet benchmark --keep, is not used for name.onnx" in caplog.text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"quantisation": {}}, "does not say what its precision changes"),
        ({"quantisation": {**RECORD, "balanced_accuracy": {"fp32": 0.91, "int8": 0.89}}}, "more than a point apart"),
        ({"quantisation": {**RECORD, "balanced_accuracy": {"fp32": 0.91, "int8": float("nan")}}}, "more than a point"),
        ({"class_bias": (0.1, 0.0, 0.3)}, "different networks (class_bias differs)"),
        ({"long_side_px": 128}, "different networks (long_side_px differs)"),
    ],
)
def test_what_may_not_stand_in_does_not(tmp_path, tiny_card, make_student, caplog, change, reason):
    full = make_student(tmp_path / "name.onnx", tiny_card)
    card = replace(tiny_card, precision="int8", quantisation=RECORD)
    small = make_student(tmp_path / "name.int8.onnx", replace(card, **change))
    assert reason in why_not(load(full).card, load(small).card)
    keep_small(full, small)
    assert load(full, fastest=True).path == full
    assert reason in caplog.text


def test_a_change_of_a_point_may_be_measured_by_map_too(tiny_card):
    record = {"mAP": {"fp32": 0.80, "int8": 0.795}}
    assert why_not(tiny_card, replace(tiny_card, precision="int8", quantisation=record)) == ""


def test_from_8_bits_to_32_nothing_is_lost(tiny_card):
    small = replace(tiny_card, precision="int8", quantisation=RECORD, sha256="1" * 64, name="Little")
    assert why_not(small, tiny_card) == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"machine": "other", "choices": {}}', '{"choices": 3}'])
def test_a_choice_of_another_machine_or_a_damaged_file_counts_for_nothing(pair, text):
    keep_small(*pair)
    choices_file().write_text(text, encoding="utf-8")
    assert load(pair[0], fastest=True).path == pair[0]


def test_a_choice_of_another_version_counts_for_nothing(pair):
    sha256 = load(pair[0]).sha256
    keep_small(*pair)
    written = json.loads(choices_file().read_text(encoding="utf-8"))
    written["choices"][sha256]["colour"] = "red"
    choices_file().write_text(json.dumps(written), encoding="utf-8")
    assert choice_for(sha256) is None
    assert load(pair[0], fastest=True).path == pair[0]


def test_choices_are_added_to_those_there_are():
    keep({"a": Choice("a.onnx", "a", 1)})
    keep({"b": Choice("b.onnx", "b", 2)})
    assert choice_for("a") == Choice("a.onnx", "a", 1)
    assert choice_for("b") == Choice("b.onnx", "b", 2)
    assert choice_for("c") is None


@pytest.mark.parametrize(
    ("system", "variable", "tail"),
    [
        ("win32", "LOCALAPPDATA", ("geocamnet", "fastest.json")),
        ("linux", "XDG_CACHE_HOME", ("geocamnet", "fastest.json")),
    ],
)
def test_choices_lie_where_the_system_keeps_such_things(monkeypatch, tmp_path, system, variable, tail):
    monkeypatch.delenv(kept.FOLDER_VARIABLE)
    monkeypatch.setattr(kept.sys, "platform", system)
    monkeypatch.setenv(variable, str(tmp_path))
    assert choices_file() == tmp_path.joinpath(*tail)
