"""Runs of an experiment: fitted once, taken up where they stopped, and never mistaken for runs of another recipe."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common import once
from geocamnet.train.recipes import DistilRecipe
from geocamnet.train.runs import recipe_toml

RECIPE = DistilRecipe(epochs=3, weights="out/a.safetensors")


class Fit:
    """Stands for `train` or `distil`: notes how it was called and leaves what they leave."""

    def __init__(self, *, finishes: bool = True) -> None:
        self.resumed: list[bool] = []
        self.finishes = finishes

    def __call__(self, run: Path, recipe: Any, *, resume: bool) -> None:
        self.resumed.append(resume)
        run.mkdir(exist_ok=True)
        (run / "recipe.toml").write_text(recipe_toml("distil", recipe), encoding="utf-8")
        if self.finishes:
            (run / "card.json").write_text("{}", encoding="utf-8")


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    fit = Fit()
    once(tmp_path / "run", RECIPE, fit)
    once(tmp_path / "run", RECIPE, fit)
    assert fit.resumed == [False]


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    once(tmp_path / "run", RECIPE, Fit(finishes=False))
    fit = Fit()
    once(tmp_path / "run", RECIPE, fit)
    assert fit.resumed == [True]


def test_a_run_of_another_recipe_is_refused_with_what_differs(tmp_path: Path) -> None:
    once(tmp_path / "run", RECIPE, Fit())
    with pytest.raises(SystemExit, match=r"epochs = 3 \(now 4\).*Remove it"):
        once(tmp_path / "run", replace(RECIPE, epochs=4), Fit())
    with pytest.raises(SystemExit, match=r"weights = out/a\.safetensors"):
        once(tmp_path / "run", replace(RECIPE, weights="none"), Fit())


def test_a_file_that_moved_and_more_workers_make_no_other_recipe(tmp_path: Path) -> None:
    once(tmp_path / "run", RECIPE, Fit())
    fit = Fit()
    once(tmp_path / "run", replace(RECIPE, weights="elsewhere/a.safetensors", workers=3), fit)
    assert fit.resumed == []


def test_a_setting_that_is_newer_than_the_run_is_no_difference(tmp_path: Path) -> None:
    once(tmp_path / "run", RECIPE, Fit())
    file = tmp_path / "run" / "recipe.toml"
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(one for one in lines if not one.startswith("mosaic_borders")), encoding="utf-8")
    once(tmp_path / "run", replace(RECIPE, mosaic_borders="straight"), Fit())
