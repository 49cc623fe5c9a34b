"""What the experiments have in common: recipes of this repository, runs that go on where they stopped, figures."""

import argparse
import json
import logging
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from geocamnet import __version__
from geocamnet.errors import GeocamnetError
from geocamnet.train.cam import extract
from geocamnet.train.evaluate import evaluate, suffix_of
from geocamnet.train.recipes import AugmentRecipe, CamRecipe, DistilRecipe, TrainRecipe
from geocamnet.train.runs import recipe_toml
from geocamnet.train.training import distil, train, without_teacher

log = logging.getLogger("geocamnet")

ROOT = Path(__file__).parents[1]
SECOND_SEED = 100  # of a second pass, that it doesn't see the very crops of the first
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "nll")
HEAT = ("miou", "pixel_ap", "energy", "pointing")
NAMED_WEIGHTS = {"none", "imagenet", "bundled"}
# Settings that say how a run is computed, not what is.
OF_THE_MACHINE = {"workers", "cache_mb", "devices", "nodes", "compile", "precision"}
MARKS = ("heat_share", "area_share", "ratio", "heat_share_unmarked")


def options(about: str | None, *, name: str, out: str) -> argparse.ArgumentParser:
    """Return what reads the options of an experiment with students: ``recipe``, ``out``, ``result`` and ``seeds``.

    Args:
        about: the script's docstring, whose first line says what it does.
        name: of the recipe and of the result.
        out: the folder below out/ that keeps what is finished.
    """
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / f"{name}.toml")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / out)
    parser.add_argument("--result", type=Path, default=ROOT / "results" / f"{name}.json")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the students")
    return parser


def fold_options(about: str | None, arguments: Sequence[str] | None, *, name: str, out: str) -> argparse.Namespace:
    """Read the options of a cross-validation: those of `options`, and ``folds``.

    Args:
        arguments: the words after the script; None takes them from ``sys.argv``.
        about, name, out: as for `options`.
    """
    parser = options(about, name=name, out=out)
    parser.add_argument("--folds", type=int, nargs="+", help="all of the recipe's without")
    return parser.parse_args(arguments)


def fit_folds(
    data: Path,
    runs: Path,
    teaching: TrainRecipe,
    studying: DistilRecipe,
    *,
    folds: Sequence[int],
    seeds: Sequence[int],
    again: Mapping[str, Any] | None = None,
    alone_teaches: bool = False,
) -> None:
    """Fit what is not there yet: ``teacher-FOLD``, and for every seed ``alone-FOLD-SEED`` and ``student-FOLD-SEED``.

    Args:
        data: the data set of all folds.
        runs: the folder of the runs.
        teaching, studying: how each is fitted, but for its fold and seed.
        folds, seeds: for which.
        again: what differs in a second pass, which starts where ``first-student-FOLD-SEED`` and
            ``first-alone-FOLD-SEED`` have come; None makes one pass.
        alone_teaches: whether the student learns from the mean of the teacher and the student alone, of its first pass.
    """
    for fold in folds:
        teacher = fit_teacher(data, runs, teaching, fold, stored=studying.teacher_maps == "stored")
        for seed in seeds:
            of_seed = replace(studying, fold=fold, seed=seed)
            alone = runs / f"{'first-' if again else ''}alone-{fold}-{seed}"
            for who, teachers in (("alone", ()), ("student", (teacher, alone))):
                sources = teachers[: 2 if alone_teaches else 1] or None
                run, recipe = runs / f"{who}-{fold}-{seed}", of_seed
                if again:
                    first = runs / f"first-{who}-{fold}-{seed}"
                    distil_once(data, first, of_seed, sources)
                    recipe = replace(of_seed, seed=SECOND_SEED + seed, weights=str(first), **again)
                distil_once(data, run, recipe, sources)


def distil_once(data: Path, run: Path, recipe: DistilRecipe, teachers: Path | Sequence[Path] | None) -> None:
    """Fit a student if it is not there yet; without teachers, alone."""
    once(run, recipe if teachers else without_teacher(recipe), partial(distil, data, teacher=teachers))


def fit_teacher(data: Path, runs: Path, teaching: TrainRecipe, fold: int, *, stored: bool) -> Path:
    """Return the run ``teacher-FOLD``, fitted if it is not there yet; its maps are ``stored`` where they are needed."""
    teacher = runs / f"teacher-{fold}"
    once(teacher, replace(teaching, fold=fold), partial(train, data))
    if stored:
        extract(data, teacher, CamRecipe())
    return teacher


def judge_once(run: Path, data: Path, *, baselines: bool = False, all_attitudes: bool = False, **how: Any) -> Any:
    """Return what `evaluate` says of a run on its test part, or what it said when this was asked before."""
    file = run / f"metrics{suffix_of('test', all_attitudes=all_attitudes)}.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if known.get("split") == "test" and known.get("version") == __version__ and bool(known["baselines"]) >= baselines:
        log.info("%s: judged before", file)
        return known
    return evaluate(run, data, baselines=baselines, all_attitudes=all_attitudes, **how)


def end_well(main: Callable[[], None], command: str) -> None:
    """Run a script; an error the user can mend is one sentence, and Ctrl-C says how to go on."""
    try:
        main()
    except GeocamnetError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(f"Stopped; {command} goes on.")


def once(run: Path, recipe: Any, fit: Callable[..., Any]) -> None:
    """Fit a run that is not there, go on with one that was stopped, leave a finished one of this recipe alone."""
    if (run / "card.json").is_file():
        _expect(run, recipe)
        log.info("%s: finished before", run)
        return
    fit(run, recipe, resume=(run / "recipe.toml").is_file())


def _expect(run: Path, recipe: Any) -> None:
    """End with a message if a finished run was fitted by another recipe: its figures would pass for this one's."""
    (had,) = read_recipe(run / "recipe.toml").values()
    wanted = table_of_recipe(recipe)
    differ = [key for key in wanted if key not in OF_THE_MACHINE and key in had and had[key] != wanted[key]]
    if "weights" in differ and not {had["weights"], wanted["weights"]} & NAMED_WEIGHTS:
        differ.remove("weights")  # a file, which may have moved
    if differ:
        how = ", ".join(f"{key} = {had[key]} (now {wanted[key]})" for key in differ)
        sys.exit(
            f"{run}: was fitted by another recipe: {how}. Remove it to have it fitted again, or name another --out."
        )


def table_of_recipe(recipe: Any) -> dict[str, Any]:
    """Return a recipe's settings as `read_recipe` would find them in the file of a run."""
    (table,) = tomllib.loads(recipe_toml("recipe", recipe)).values()
    return table  # type: ignore[no-any-return]


def read_recipe(file: Path) -> dict[str, Any]:
    """Read a recipe."""
    return tomllib.loads(file.read_text(encoding="utf-8"))


def settings(kind: Any, table: dict[str, Any]) -> Any:
    """Make a recipe of a table of the TOML file."""
    known = {one.name for one in fields(kind)}
    if unknown := set(table) - known:
        sys.exit(f"Unknown settings of {kind.__name__}: {', '.join(sorted(unknown))}")
    values = dict(table)
    if "augment" in values:
        values["augment"] = AugmentRecipe(**values["augment"])
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def add(table: dict[str, dict[str, list[float]]], who: str, row: dict[str, Any], keys: tuple[str, ...]) -> None:
    """Append a row's figures to the lists of one who was judged, a value per run."""
    for key, value in figures_of(row, keys).items():
        table.setdefault(who, {}).setdefault(key, []).append(value)


def figures_of(row: Mapping[str, Any], keys: Sequence[str]) -> dict[str, float]:
    """Return those figures of a row that are there, to four places."""
    return {key: round(float(row[key]), 4) for key in keys if row.get(key) is not None}


def summary(table: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return mean and standard deviation over folds and seeds."""
    return {
        who: {key: {"mean": round(mean(values), 4), "spread": round(pstdev(values), 4)} for key, values in row.items()}
        for who, row in table.items()
    }
