"""Tables that grow from call to call: nothing twice, nothing of another recipe, and the margin is that of pairs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from carbonate_folds import above_alone
from geocamnet.train.recipes import DistilRecipe
from parts import Part, kept_parts, recipe_tables, table_of, with_parts

RECIPE = DistilRecipe(epochs=3, weights="out/a.safetensors")


def part(fold: int, seed: int | None, who: str, accuracy: float) -> Part:
    named = {who: {"accuracy": accuracy}, f"{who}_attitudes": {"accuracy": accuracy}}
    for row in named.values():
        row |= {"balanced_accuracy": accuracy, "macro_f1": accuracy, "nll": 1 - accuracy}
    return {"fold": fold, "seed": seed, "who": who, "names": named}


def write(file: Path, recipe: DistilRecipe, parts: list[Part]) -> Path:
    recipes = recipe_tables({"student": recipe})
    file.write_text(json.dumps({"recipes": recipes, "parts": parts}), encoding="utf-8")
    return file


def test_parts_of_a_later_call_are_added_in_order_or_take_the_place_of_their_own(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", RECIPE, [part(0, 0, "student", 0.5), part(1, 0, "student", 0.6)])
    kept = kept_parts(file, recipe_tables({"student": RECIPE}))
    merged = with_parts(kept, [part(1, 0, "student", 0.7), part(0, 1, "student", 0.8), part(0, None, "teacher", 0.9)])
    assert [(one["fold"], one["seed"], one["who"]) for one in merged] == [
        (0, None, "teacher"), (0, 0, "student"), (0, 1, "student"), (1, 0, "student"),
    ]  # fmt: skip
    table = table_of(merged, "names")
    assert table["student"]["accuracy"] == [0.5, 0.8, 0.7]
    assert table["teacher"]["accuracy"] == [0.9]
    assert table_of(merged, "heatmaps") == {}


@pytest.mark.parametrize("change", [{"epochs": 4}, {"mosaic_borders": "straight"}])
def test_parts_of_another_recipe_are_left_out_and_it_is_said(change: dict, tmp_path: Path, caplog) -> None:
    file = write(tmp_path / "a.json", RECIPE, [part(0, 0, "student", 0.5)])
    assert kept_parts(file, recipe_tables({"student": replace(RECIPE, **change)})) == []
    assert f"student.{next(iter(change))}" in caplog.text


def test_another_fold_seed_or_place_of_a_file_makes_no_other_recipe(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", RECIPE, [part(0, 0, "student", 0.5)])
    moved = replace(RECIPE, fold=3, seed=2, weights="elsewhere/a.safetensors", workers=7)
    assert len(kept_parts(file, recipe_tables({"student": moved}))) == 1


def test_no_result_and_one_without_recipes_have_no_parts(tmp_path: Path) -> None:
    recipes = recipe_tables({"student": RECIPE})
    assert kept_parts(tmp_path / "none.json", recipes) == []
    (tmp_path / "old.json").write_text('{"names": {}}', encoding="utf-8")
    assert kept_parts(tmp_path / "old.json", recipes) == []


def test_the_margin_over_the_student_alone_is_of_the_same_fold_and_seed() -> None:
    student = {(0, 0): 0.8, (1, 0): 0.6, (0, 1): 0.9, (1, 1): 0.5, (2, 1): 0.1}
    alone = {(0, 0): 0.7, (1, 0): 0.6, (0, 1): 0.6, (1, 1): 0.6}  # the third fold's is not there yet: no pair
    parts = [part(*key, "student", value) for key, value in student.items()]
    parts += [part(*key, "student_alone", value) for key, value in alone.items()]
    margin = above_alone(parts)["accuracy"]
    assert margin["seeds"] == [0.05, 0.1]
    assert (margin["mean"], margin["better"], margin["of"]) == (0.075, 2, 4)
    assert margin["spread_seeds"] == 0.025
    assert margin["spread"] == pytest.approx(0.1479, abs=1e-4)
    assert above_alone(parts)["nll"]["better"] == 2  # a lower log loss is the better one
