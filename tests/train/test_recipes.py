"""Recipe files: all of ours are read whole, and a typing error is told with its file and key."""

import tomllib
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path

import pytest
from cyclopts import config

from geocamnet.cli import app, main
from geocamnet.errors import DataError
from geocamnet.train.recipes import (
    AugmentRecipe,
    CamRecipe,
    DistilRecipe,
    PrepareRecipe,
    PretrainRecipe,
    SynthesizeRecipe,
    TrainRecipe,
    check_fitting,
)

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "recipes").glob("*.toml"))
WORDS = {
    "synthesize": ["synthesize", "RAW"],
    "prepare": ["prepare", "RAW", "DATA"],
    "train": ["train", "DATA", "RUN"],
    "cam": ["cam", "DATA", "RUN"],
    "pretrain": ["pretrain", "DATA", "RUN"],
    "distil": ["distil", "DATA", "RUN", "--teacher", "none"],
}
RECIPES = {
    "synthesize": SynthesizeRecipe,
    "prepare": PrepareRecipe,
    "train": TrainRecipe,
    "cam": CamRecipe,
    "pretrain": PretrainRecipe,
    "distil": DistilRecipe,
}


def settings_of(table, file, *words):
    """What the command line makes of a recipe file and words of its own."""
    app.config = config.Toml(file, must_exist=True, search_parents=False)
    try:
        _, bound, _ = app.parse_args([*WORDS[table], *words], exit_on_error=False, print_error=False)
    finally:
        app.config = ()
    return bound.arguments.get("settings", RECIPES[table]())


def recipe_error(text, tmp_path, capsys, words=("train", "DATA", "RUN")):
    """What is said of a recipe file with something wrong in it."""
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(SystemExit) as ended:
        main([*words, "--recipe", str(file)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "mine.toml" in said
    assert len(said.splitlines()) == 1
    return said


def test_there_are_recipes():
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_recipe_of_ours_is_taken_whole_by_the_command_line(file):
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    assert set(tables) <= set(RECIPES)
    for table, values in tables.items():
        settings = asdict(settings_of(table, file))
        for key, value in values.items():
            if isinstance(value, dict):
                assert settings[key] == settings[key] | value, (table, key)
            else:
                assert settings[key] == (tuple(value) if isinstance(value, list) else value), (table, key)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_recipe_of_ours_passes_the_check_for_typing_errors(file, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["prepare", str(tmp_path / "none"), str(tmp_path / "data"), "--recipe", str(file)])
    assert "none: no such folder" in capsys.readouterr().err  # the recipe was taken, the photographs are not there


def test_the_command_line_overrides_the_recipe_and_the_recipe_the_default(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[train]\nepochs = 7\nlr = 0.5\n[train.augment]\nfocus = 0.0\n")
    settings = settings_of("train", file, "--epochs", "9", "--augment.noise", "1.0")
    augment = AugmentRecipe(focus=0.0, noise=1.0)
    assert settings == replace(TrainRecipe(), epochs=9, lr=0.5, augment=augment)


def test_lists_and_choices_are_read_from_a_recipe(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[synthesize]\nclasses = ["oolite", "vug"]\nlights = ["PPL"]\n[cam]\nmethod = "layercam"\n')
    assert settings_of("synthesize", file) == SynthesizeRecipe(classes=("oolite", "vug"), lights=("PPL",))
    assert settings_of("cam", file) == CamRecipe(method="layercam")


@pytest.mark.parametrize(
    ("recipe", "table"),
    [
        (TrainRecipe(epochs=3, fold=1, balance="sampler", augment=AugmentRecipe(turns=False)), "train"),
        (DistilRecipe(teacher_maps="online", logit_loss="dist"), "distil"),
        (TrainRecipe(), "train"),
    ],
)
def test_a_recipe_written_into_a_run_is_read_back_equal(recipe, table, tmp_path):
    runs = pytest.importorskip("geocamnet.train.runs", reason="runs are written with geocamnet[train]")
    file = tmp_path / "recipe.toml"
    file.write_text(runs.recipe_toml(table, recipe))
    assert settings_of(table, file) == recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train]\nepoks = 3\n", ("[train]", "'epoks'", "Did you mean 'epochs'?")),
        ("[trian]\nepochs = 3\n", ("'trian'", "Did you mean 'train'?")),
        ("[train.augment]\nstian = 0.1\n", ("augment", "'stian'", "Did you mean 'stain'?")),
        ("[train]\naugment = 3\n", ("augment is a table", "received 3")),
        ("[distil]\nfoo = 3\n", ("[distil]", "'foo'")),
        ("epochs = 3\n", ("'epochs'", "Known: synthesize, audit, prepare, train")),
        ('[train]\nepochs = "many"\n', ("epochs", '"many"')),
        ('[train]\nbalance = "samplr"\n', ("balance", '"samplr"', 'Did you mean "sampler"?')),
        ("[train\n", ("is not TOML", "line 1")),
    ],
)
def test_a_typing_error_is_told_with_file_and_key(text, said, tmp_path, capsys):
    error = recipe_error(text, tmp_path, capsys)
    for part in said:
        assert part in error


def test_a_recipe_that_is_not_there_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["train", "DATA", "RUN", "--recipe", str(tmp_path / "none.toml")])
    assert "none.toml: can't be read" in capsys.readouterr().err


def test_a_recipe_is_forgotten_after_the_command_it_was_named_for(tmp_path, capsys):
    recipe_error("[train]\nepochs = 'many'\n", tmp_path, capsys)
    with pytest.raises(SystemExit):
        main(["train", str(tmp_path / "none"), str(tmp_path / "run")])
    assert "no index.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"seed": -1}, "--seed must be from 0 to 4294967295; received -1"),
        ({"seed": 2**32}, "--seed must be from 0 to 4294967295; received 4294967296"),
        ({"augment": AugmentRecipe(scale=0.0)}, "--augment.scale must be above 0; received 0.0"),
        ({"augment": AugmentRecipe(scale=float("nan"))}, "--augment.scale must be above 0; received nan"),
        ({"augment": AugmentRecipe(stain=-0.1)}, "--augment.stain must be 0 or more; received -0.1"),
        ({"augment": AugmentRecipe(light=-1.0)}, "--augment.light must be 0 or more; received -1.0"),
    ],
)
def test_choices_that_no_training_can_be_made_with_are_refused_by_their_option(choice, told):
    for recipe in (TrainRecipe, DistilRecipe, PretrainRecipe):
        with pytest.raises(DataError, match=told):
            check_fitting(recipe(**choice))
    check_fitting(TrainRecipe(seed=2**32 - 1, augment=AugmentRecipe(scale=1.0, stain=0.0, light=0.0)))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_choice_is_described_where_the_command_line_finds_it(recipe):
    described = "".join(one.__doc__ for one in recipe.__mro__ if is_dataclass(one))
    for one in fields(recipe):
        assert f" {one.name}: " in described, one.name
