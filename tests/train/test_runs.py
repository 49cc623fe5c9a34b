import errno
import tomllib
from dataclasses import asdict, replace
from importlib.metadata import version

import pytest
import torch

from drawn import killed_when_removing
from geocamnet.errors import DataError, ModelError
from geocamnet.train import runs
from geocamnet.train.index import IndexRow
from geocamnet.train.recipes import AugmentRecipe, CamRecipe, DistilRecipe, PretrainRecipe, TrainRecipe
from geocamnet.train.runs import (
    TrainingData,
    load_network,
    open_run,
    read_card,
    recipe_toml,
    trained_on,
    write_json,
    writing_into,
)
from geocamnet.train.student import Student
from geocamnet.train.teacher import Teacher

RECIPE = TrainRecipe(backbone="resnet18", lr=3e-4, augment=AugmentRecipe(turns=False, stain=0.123456789))


def test_an_opened_run_holds_its_recipe_and_its_environment(tmp_path):
    run = tmp_path / "new" / "run"
    open_run(run, "train", RECIPE)
    assert sorted(one.name for one in run.iterdir()) == ["environment.txt", "recipe.toml"]
    lines = (run / "environment.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("python==3.")
    assert f"torch=={version('torch')}" in lines
    assert lines[1:] == sorted(lines[1:])


@pytest.mark.parametrize("recipe", [RECIPE, TrainRecipe(fold=3), DistilRecipe(), CamRecipe()])
def test_a_recipe_is_read_back_to_the_same_values(recipe):
    values = tomllib.loads(recipe_toml("step", recipe))["step"]
    expected = {name: value for name, value in asdict(recipe).items() if value is not None}
    assert values == expected
    if "augment" in values:
        values["augment"] = AugmentRecipe(**values["augment"])
    assert type(recipe)(**values) == recipe


def test_a_run_that_is_not_empty_is_refused_and_left_alone(tmp_path):
    open_run(tmp_path / "run", "train", RECIPE)
    (tmp_path / "run" / "card.json").write_text("mine")
    before = {one.name: one.read_bytes() for one in (tmp_path / "run").iterdir()}
    with pytest.raises(DataError, match=r"not empty\. Go on with --resume, or start again with --overwrite"):
        open_run(tmp_path / "run", "train", RECIPE)
    assert {one.name: one.read_bytes() for one in (tmp_path / "run").iterdir()} == before


def test_an_empty_folder_is_taken(tmp_path):
    open_run(tmp_path, "train", RECIPE)
    assert (tmp_path / "recipe.toml").is_file()


def test_resuming_with_the_same_recipe_changes_nothing(tmp_path):
    open_run(tmp_path, "train", RECIPE)
    (tmp_path / "card.json").write_text("mine")
    before = (tmp_path / "recipe.toml").read_bytes()
    open_run(tmp_path, "train", RECIPE, resume=True)
    assert (tmp_path / "card.json").read_text() == "mine"
    assert (tmp_path / "recipe.toml").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [{"epochs": 31}, {"augment": AugmentRecipe(noise=0.9)}, {"fold": 0}, {"seed": 1}, {"backbone": "resnet34"}],
)
def test_resuming_with_another_recipe_is_refused(tmp_path, change):
    open_run(tmp_path, "train", RECIPE)
    with pytest.raises(DataError, match=r"started with another recipe.*recipe\.toml"):
        open_run(tmp_path, "train", replace(RECIPE, **change), resume=True)


def test_resuming_another_step_is_refused(tmp_path):
    open_run(tmp_path, "train", RECIPE)
    with pytest.raises(DataError, match="another recipe"):
        open_run(tmp_path, "distil", RECIPE, resume=True)


def test_resuming_with_another_teacher_is_refused(tmp_path):
    teachers = [tmp_path / name / "checkpoints" for name in ("one", "other", "copy of one")]
    for folder, weights in zip(teachers, (b"a", b"b", b"a"), strict=True):
        folder.mkdir(parents=True)
        (folder / "best.safetensors").write_bytes(weights)
    one, other, copy = (folder.parent for folder in teachers)
    run = tmp_path / "run"
    open_run(run, "distil", RECIPE, teachers=[one])
    for teacher in (one, copy):
        open_run(run, "distil", RECIPE, teachers=[teacher], resume=True)
    with pytest.raises(DataError, match=r"its teacher was 'one'.*other"):
        open_run(run, "distil", RECIPE, teachers=[other], resume=True)
    open_run(run, "distil", RECIPE, teachers=[other], overwrite=True)
    open_run(run, "distil", RECIPE, teachers=[other], resume=True)
    (run / "teacher.json").unlink()  # of a run of before
    open_run(run, "distil", RECIPE, teachers=[one], resume=True)


def learnt(folder, **changes):
    """What a run learns from: six photographs, of which some differ from those of another call."""
    rows = [
        IndexRow(f"images/{i}.png", ("oolite",), f"S{i}", "", "", None, split, 64, 64, f"sha {i}", f"{i}.png")
        for i, split in enumerate(("train", "train", "train", "val", "test", "test"))
    ]
    rows[2] = replace(rows[2], **changes)
    return TrainingData(folder, rows, [row for row in rows if row.split == "train"])


def test_a_run_says_from_which_photographs_it_has_learnt(tmp_path):
    open_run(tmp_path / "run", "train", RECIPE, data=learnt(tmp_path / "data"))
    assert trained_on(tmp_path / "run") == {"sha 0", "sha 1", "sha 2"}
    open_run(tmp_path / "adopted", "train", RECIPE)
    assert trained_on(tmp_path / "adopted") is None


@pytest.mark.parametrize(
    "change", [{"labels": ("vug",)}, {"split": "test"}, {"sha256": "sha 9"}, {"width_px": 80}, {"um_per_px": 2.0}]
)
def test_resuming_on_other_data_is_refused(tmp_path, change):
    run = tmp_path / "run"
    open_run(run, "train", RECIPE, data=learnt(tmp_path / "data"))
    before = (run / "data.json").read_bytes()
    with pytest.raises(DataError, match=r"started on the data set 'data'.*'other' has now\. Resume with that data set"):
        open_run(run, "train", RECIPE, data=learnt(tmp_path / "other", **change), resume=True)
    open_run(run, "train", RECIPE, data=learnt(tmp_path / "moved", fold=3), resume=True)  # nothing that it takes
    assert (run / "data.json").read_bytes() == before
    open_run(run, "train", RECIPE, data=learnt(tmp_path / "other", **change), overwrite=True)
    open_run(run, "train", RECIPE, data=learnt(tmp_path / "other", **change), resume=True)


def test_a_run_of_before_goes_on_without_saying_from_what_it_has_learnt(tmp_path):
    open_run(tmp_path, "train", RECIPE)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_text("some epochs")
    open_run(tmp_path, "train", RECIPE, data=learnt(tmp_path / "data"), resume=True)
    assert trained_on(tmp_path) is None


@pytest.mark.parametrize("after", [1, 2])
def test_a_run_killed_before_it_has_said_from_what_it_learns_says_it_when_it_is_resumed(after, tmp_path, monkeypatch):
    teacher = tmp_path / "teacher"
    (teacher / "checkpoints").mkdir(parents=True)
    (teacher / "checkpoints" / "best.safetensors").write_bytes(b"weights")
    sources = {"teachers": [teacher], "data": learnt(tmp_path / "data")}
    open_run(tmp_path / "whole", "distil", RECIPE, **sources)
    written, write = [], runs.write_text

    def killed(path, text):
        if len(written) == after:
            raise KeyboardInterrupt
        written.append(path)
        write(path, text)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            open_run(run, "distil", RECIPE, **sources)
    open_run(run, "distil", RECIPE, **sources, resume=True)
    for name in ("recipe.toml", "teacher.json", "data.json"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_resuming_what_is_not_a_run_is_refused_and_what_is_not_there_begins(tmp_path):
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "one.jpg").write_text("mine")
    with pytest.raises(DataError, match="nothing to resume"):
        open_run(tmp_path / "photographs", "train", RECIPE, resume=True)
    open_run(tmp_path / "new", "train", RECIPE, resume=True)
    assert (tmp_path / "new" / "recipe.toml").is_file()


def test_a_run_killed_while_it_was_opened_is_opened_by_the_same_call(tmp_path):
    open_run(tmp_path / "whole", "train", RECIPE)
    whole = {one.name: one.read_bytes() for one in (tmp_path / "whole").iterdir()}
    for resume in (False, True):
        run = tmp_path / f"begun {resume}"
        run.mkdir()
        (run / ".aside-0123456789ab.toml").write_text("[tr")
        open_run(run, "train", RECIPE, resume=resume)
        assert {one.name: one.read_bytes() for one in run.iterdir()} == whole
    (run / "environment.txt").unlink()
    (run / "checkpoints").mkdir()
    for left in (run / ".aside-0123456789ab.txt", run / "checkpoints" / ".aside-0123456789ab.safetensors"):
        left.write_text("half")
    open_run(run, "train", RECIPE, resume=True)
    assert {one.name: one.read_bytes() for one in run.iterdir() if one.is_file()} == whole
    assert not list((run / "checkpoints").iterdir())


def test_overwriting_that_was_killed_is_overwriting_still(tmp_path, monkeypatch):
    open_run(tmp_path, "train", RECIPE)
    for name in ("card.json", "log.csv", "metrics.json", "zebra.txt"):
        (tmp_path / name).write_text("old")
    killed_when_removing(monkeypatch, 6)  # the last
    with pytest.raises(KeyboardInterrupt):
        open_run(tmp_path, "train", RECIPE, overwrite=True)
    monkeypatch.undo()
    open_run(tmp_path, "train", RECIPE, overwrite=True)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["environment.txt", "recipe.toml"]


def test_overwriting_empties_a_run(tmp_path):
    run = tmp_path / "run"
    open_run(run, "train", RECIPE)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "best.safetensors").write_text("old")
    (run / "card.json").write_text("old")
    changed = replace(RECIPE, seed=5)
    open_run(run, "train", changed, overwrite=True)
    assert sorted(one.name for one in run.iterdir()) == ["environment.txt", "recipe.toml"]
    assert tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))["train"]["seed"] == 5


@pytest.mark.parametrize("needed", ["teacher", "link", "weights", "checkpoint", "teacher's weights", "data"])
def test_overwriting_what_the_training_is_to_start_from_is_refused(tmp_path, needed):
    run = tmp_path / "run"
    open_run(run, "train", RECIPE)
    checkpoint = run / "checkpoints" / "best.safetensors"
    checkpoint.parent.mkdir()
    checkpoint.write_text("weeks of work")
    recipe, options = RECIPE, {}
    if needed == "link":
        try:
            (tmp_path / "link").symlink_to(run, target_is_directory=True)
        except OSError:
            pytest.skip("this system lets no one make links")
    if needed in ("teacher", "link"):
        options = {"teachers": [tmp_path / needed.replace("teacher", "run")]}
    elif needed == "data":
        options = {"data": learnt(run / "data")}
    elif needed == "teacher's weights":
        recipe = PretrainRecipe(teacher_weights=str(run))
    else:
        recipe = replace(RECIPE, weights=str(run if needed == "weights" else checkpoint))
    with pytest.raises(DataError, match=r"--overwrite would delete .*Name another RUN"):
        open_run(run, "distil", recipe, overwrite=True, **options)
    assert checkpoint.read_text() == "weeks of work"
    open_run(run, "train", replace(RECIPE, weights="imagenet"), overwrite=True)


def test_overwriting_a_folder_that_is_not_a_run_is_refused(tmp_path):
    (tmp_path / "one.jpg").write_text("mine")
    with pytest.raises(DataError, match="not empty and not a run"):
        open_run(tmp_path, "train", RECIPE, overwrite=True)
    assert (tmp_path / "one.jpg").read_text() == "mine"


def test_overwriting_follows_a_link_to_the_run_and_none_inside_it(tmp_path):
    run, link, elsewhere = tmp_path / "disk", tmp_path / "run", tmp_path / "elsewhere"
    open_run(run, "train", RECIPE)
    elsewhere.mkdir()
    (elsewhere / "photograph.jpg").write_text("mine")
    try:
        link.symlink_to(run, target_is_directory=True)
        (run / "data").symlink_to(elsewhere, target_is_directory=True)
    except OSError:
        pytest.skip("this system lets no one make links")
    open_run(link, "train", RECIPE, overwrite=True)
    assert link.is_symlink()
    assert sorted(one.name for one in run.iterdir()) == ["environment.txt", "recipe.toml"]
    assert (elsewhere / "photograph.jpg").read_text() == "mine"


def test_a_file_in_the_place_of_a_run_is_refused(tmp_path):
    (tmp_path / "run").write_text("mine")
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(DataError, match="is a file; a RUN is a folder"):
            open_run(tmp_path / "run", "train", RECIPE, **options)


def test_a_run_that_can_not_be_written_is_told_with_its_path_and_the_reason(tmp_path):
    says = r"run: can't be written \(No space left on device\).*--resume"
    with pytest.raises(DataError, match=says), writing_into(tmp_path / "run"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ConnectionResetError), writing_into(tmp_path / "run"):
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


@pytest.mark.parametrize(
    ("step", "backbone", "kind"), [("train", "resnet18", Teacher), ("distil", "mobilenetv3_small_075", Student)]
)
def test_a_finished_run_is_loaded_ready_to_predict(tmp_path, make_run, step, backbone, kind):
    run = make_run(tmp_path / "run", step=step, backbone=backbone)
    network, card = load_network(run)
    assert isinstance(network, kind)
    assert not network.training
    assert card == read_card(run)
    torch.testing.assert_close(network.class_bias.detach(), torch.tensor(card.class_bias))
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 64, 96)).logits.shape == (1, 3)


def test_a_run_without_card_or_weights_or_with_anothers_is_an_error(tmp_path, make_run):
    with pytest.raises(ModelError, match=r"no card\.json, so it is not a finished run"):
        load_network(tmp_path)
    run = make_run(tmp_path / "run")
    other = make_run(tmp_path / "other", classes=("foam", "vug"))
    weights = run / "checkpoints" / "best.safetensors"
    weights.unlink()
    with pytest.raises(ModelError, match=r"best\.safetensors: no such file"):
        load_network(run)
    (other / "checkpoints" / "best.safetensors").rename(weights)
    with pytest.raises(ModelError, match=r"trunk\.fc\.weight is \(2, 512\), not \(3, 512\)"):
        load_network(run)


def test_json_is_written_whole_and_readable(tmp_path):
    write_json(tmp_path / "a" / "b.json", {"名": "鲕粒", "values": [1, 2.5]})
    assert (tmp_path / "a" / "b.json").read_text(encoding="utf-8") == (
        '{\n "名": "鲕粒",\n "values": [\n  1,\n  2.5\n ]\n}\n'
    )
    with pytest.raises(TypeError):
        write_json(tmp_path / "a" / "b.json", {"bad": object()})
    assert [one.name for one in (tmp_path / "a").iterdir()] == ["b.json"]
