"""The model card: what a model file says of itself, read back equal or refused with a reason."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocamnet.card import FAMILIAR_COUNT, FORMAT, ClassCard, FamiliarCard, ModelCard, TextureCard
from geocamnet.errors import ModelError
from geocamnet.runtime.familiar import statistics
from geocamnet.runtime.model import load


def changed(card: ModelCard, **values: object) -> str:
    """Return the card's JSON with some values changed; None removes the key."""
    content = json.loads(card.to_json())
    content.update(values)
    return json.dumps({key: value for key, value in content.items() if value != "remove"})


def test_a_card_survives_its_round_trip(tiny_card):
    full = replace(
        tiny_card,
        labels="multi",
        long_side_px=None,
        um_per_px=1.25,
        label_thresholds=(0.3, 0.5, 0.25),
        evidence_below=-1.5,
        texture=TextureCard(levels=8, window_px=21, low=3.5, high=250.0),
        familiar=FamiliarCard(mean=(0.5,) * 13, precision=((4.0, *(0.5,) * 12),) * 13, limit=4.25, long_side_px=192),
        precision="int8",
        licence="Apache-2.0",
        attribution="葡萄花边, Sichuan",
        limits="drawn sections only",
        data={"name": "drawn", "sections_known": True, "photographs": {"train": 3}},
        metrics={"accuracy": 0.75},
        quantisation={"map_correlation": 0.99},
        recipe={"train": {"epochs": 3}},
        teacher={"architecture": "resnet101"},
        created="2025-01-01T00:00:00Z",
        version="0.1.0",
        sha256="ab" * 32,
    )
    assert ModelCard.from_json(full.to_json()) == full


def test_a_card_from_before_a_field_was_added_is_still_read(tiny_card):
    old = changed(tiny_card, limits="remove", quantisation="remove", precision="remove")
    assert ModelCard.from_json(old) == tiny_card


def test_the_summary_names_model_classes_figure_and_limits(tiny_card):
    assert tiny_card.summary == "tiny (fp32) knows 3 classes: Oolite, Foam, Vug; limits: not stated"
    told = replace(
        tiny_card,
        precision="int8",
        limits="knows colours only",
        metrics={"n": 40, "model": {"balanced_accuracy": 0.618}, "majority": {"balanced_accuracy": 0.333}},
    )
    assert told.summary == (
        "tiny (int8) knows 3 classes: Oolite, Foam, Vug; balanced accuracy 0.62 on 40 photographs; "
        "limits: knows colours only"
    )


names = st.text(min_size=1, max_size=8)
positive = st.floats(1e-6, 1e6)


@given(
    classes=st.lists(
        st.tuples(names, names, positive, st.floats(-1e6, 1e6)), min_size=1, max_size=5, unique_by=lambda one: one[0]
    ),
    temperature=positive,
)
def test_any_card_survives_its_round_trip(classes, temperature):
    card = ModelCard(
        name="any",
        classes=tuple(ClassCard(name, title, (1, 2, 3)) for name, title, _, _ in classes),
        labels="single",
        architecture="",
        parameters=1,
        map_stride=16,
        long_side_px=224,
        um_per_px=None,
        map_scale=tuple(one[2] for one in classes),
        class_bias=tuple(one[3] for one in classes),
        temperature=temperature,
    )
    assert ModelCard.from_json(card.to_json()) == card


def test_colours_and_constants_come_back_as_tuples(tiny_card):
    card = ModelCard.from_json(tiny_card.to_json())
    assert card.classes[0].colour_rgb == (255, 0, 0)
    assert isinstance(card.map_scale, tuple)
    assert isinstance(card.texture, TextureCard)


def test_a_card_without_texture_takes_the_defaults(tiny_card):
    assert ModelCard.from_json(changed(tiny_card, texture="remove")).texture == TextureCard()


def test_a_card_of_before_refuses_nothing(tiny_card):
    old = dict.fromkeys(("label_thresholds", "evidence_below", "familiar"), "remove")
    card = ModelCard.from_json(changed(tiny_card, **old))
    assert (card.label_thresholds, card.evidence_below, card.familiar) == ((), None, None)


@pytest.mark.parametrize(
    ("labels", "thresholds"), [("multi", (0.5, 0.5)), ("multi", (0.5, 0.5, 1.5)), ("single", (0.5, 0.5, 0.5))]
)
def test_thresholds_are_one_a_class_and_only_for_several_labels(tiny_card, labels, thresholds):
    with pytest.raises(ModelError, match="label_thresholds must be 3 values from 0 to 1"):
        replace(tiny_card, labels=labels, label_thresholds=thresholds)


@pytest.mark.parametrize(
    "values",
    [
        {"precision": ((1.0,),)},
        {"precision": ((1.0,) * 13,) * 12 + ((1.0,),)},
        {"precision": 1.0},
        {"mean": (0.0,) * 5, "precision": ((1.0,) * 5,) * 5},
        {"mean": (float("nan"),) * 13},
        {"limit": 0.0},
        {"limit": float("nan")},
        {"limit": "far"},
        {"long_side_px": 0},
    ],
)
def test_what_is_familiar_must_fit_itself(values):
    whole = {"mean": (0.0,) * 13, "precision": ((1.0,) * 13,) * 13, "limit": 3.0, "long_side_px": 64}
    assert FamiliarCard(**whole).limit == 3
    with pytest.raises(ModelError, match=f"familiar.*{next(iter(values))}"):
        FamiliarCard(**{**whole, **values})


def test_a_card_has_as_many_statistics_as_are_measured():
    assert statistics(np.zeros((8, 8, 3), np.uint8), 16).shape == (FAMILIAR_COUNT,)


def test_an_unknown_key_is_named_and_the_known_ones_are_listed(tiny_card):
    with pytest.raises(ModelError, match=r"'temprature'.*temperature.*Did you mean 'temperature'"):
        ModelCard.from_json(changed(tiny_card, temprature=1.0))


@pytest.mark.parametrize("key", ["name", "classes", "map_scale", "class_bias", "labels", "long_side_px"])
def test_a_missing_key_is_named(tiny_card, key):
    with pytest.raises(ModelError, match=f"not complete.*{key}"):
        ModelCard.from_json(changed(tiny_card, **{key: "remove"}))


@pytest.mark.parametrize("other", [FORMAT + 1, 0, None, "remove"])
def test_another_format_says_what_to_do(tiny_card, other):
    with pytest.raises(ModelError, match="Upgrade geocamnet"):
        ModelCard.from_json(changed(tiny_card, format=other))


def test_a_newer_card_is_refused_for_its_format_before_its_new_keys(tiny_card):
    with pytest.raises(ModelError, match=f"format {FORMAT + 1}"):
        ModelCard.from_json(changed(tiny_card, format=FORMAT + 1, something_new=1))


@pytest.mark.parametrize("text", ["", "{", "geocamnet", '{"name": }'])
def test_text_that_is_not_json_is_refused(text):
    with pytest.raises(ModelError, match="not JSON"):
        ModelCard.from_json(text)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"card"'])
def test_json_that_is_no_object_is_refused(text):
    with pytest.raises(ModelError, match="JSON object"):
        ModelCard.from_json(text)


@pytest.mark.parametrize(
    "values",
    [
        {"classes": [{"name": "oolite"}]},
        {"classes": 3},
        {"classes": ["oolite"]},
        {"texture": {"windows_px": 3}},
        {"map_scale": ["wide", 1, 1]},
        {"class_bias": 0.5},
        {"familiar": {"mean": [1.0]}},
        {"familiar": 3},
    ],
)
def test_values_of_the_wrong_kind_are_refused(tiny_card, values):
    with pytest.raises(ModelError, match="not complete"):
        ModelCard.from_json(changed(tiny_card, **values))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 5),
        ("limits", ["grey"]),
        ("labels", 1),
        ("parameters", "many"),
        ("parameters", -1),
        ("map_stride", 0),
        ("map_stride", "16"),
        ("map_stride", True),
        ("long_side_px", "288"),
        ("long_side_px", 0),
        ("long_side_px", -5),
        ("long_side_px", 288.5),
        ("um_per_px", "2"),
        ("um_per_px", 0.0),
        ("um_per_px", -2.0),
        ("class_bias", [float("nan"), 0, 0]),
        ("map_scale", [float("inf"), 1, 1]),
        ("temperature", "warm"),
        ("abstain_below", "x"),
        ("evidence_below", "x"),
        ("data", [1]),
        ("teacher", [1]),
        ("recipe", None),
        ("quantisation", "int8"),
        ("quantisation", {"same_name": "all"}),
        ("metrics", [1]),
        ("metrics", {"model": {"balanced_accuracy": "x"}, "n": 3}),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name_and_with_what_was_received(tiny_card, name, value):
    with pytest.raises(ModelError, match=f"{name} must be .*; received .*Export the model again"):
        ModelCard.from_json(changed(tiny_card, **{name: value}))


@pytest.mark.parametrize("colour", [[1, 2], "red", ["a", "b", "c"], [0, 0, 256], [0.5, 0, 0]])
def test_the_colour_of_a_class_is_three_bytes(tiny_card, colour):
    classes = [{"name": name, "title": name, "colour_rgb": colour} for name in ("a", "b", "c")]
    with pytest.raises(ModelError, match="'a': colour_rgb must be three whole numbers from 0 to 255"):
        ModelCard.from_json(changed(tiny_card, classes=classes))


@pytest.mark.parametrize("names", [["foam", "foam", "foam"], []])
def test_classes_are_named_once_each(tiny_card, names):
    classes = [{"name": name, "title": name, "colour_rgb": [1, 2, 3]} for name in names]
    with pytest.raises(ModelError, match="each of another name"):
        ModelCard.from_json(changed(tiny_card, classes=classes))


@pytest.mark.parametrize(
    "texture", [{"levels": "16"}, {"levels": 1}, {"levels": 257}, {"window_px": 0}, {"low": None}, {"high": "white"}]
)
def test_texture_is_told_in_numbers(tiny_card, texture):
    with pytest.raises(ModelError, match=f"texture: {next(iter(texture))} must be"):
        ModelCard.from_json(changed(tiny_card, texture=texture))


def test_the_card_of_the_bundled_student_is_read():
    assert load().card.long_side_px == 288


@pytest.mark.parametrize("name", ["map_scale", "class_bias"])
@pytest.mark.parametrize("count", [0, 2, 4])
def test_constants_must_be_as_many_as_the_classes(tiny_card, name, count):
    with pytest.raises(ModelError, match=f"{name} has {count} values for 3 classes"):
        replace(tiny_card, **{name: (1.0,) * count})


def test_an_unknown_kind_of_labels_lists_the_known(tiny_card):
    with pytest.raises(ModelError, match=r"'multiple'.*single, multi"):
        replace(tiny_card, labels="multiple")


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_scale_and_temperature_must_be_above_zero(tiny_card, value):
    with pytest.raises(ModelError, match="above 0"):
        replace(tiny_card, temperature=value)
    with pytest.raises(ModelError, match="above 0"):
        replace(tiny_card, map_scale=(1.0, value, 1.0))


def test_class_index_finds_every_class_and_lists_them_for_an_unknown_one(tiny_card):
    assert [tiny_card.class_index(name) for name in tiny_card.class_names] == [0, 1, 2]
    with pytest.raises(ModelError, match=r"'oolit'.*oolite, foam, vug.*Did you mean 'oolite'"):
        tiny_card.class_index("oolit")
