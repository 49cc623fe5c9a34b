"""The command line as a newcomer meets it: the pipeline from drawing to report, its help, its errors, its words."""

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import geocamnet
from geocamnet.card import ModelCard
from geocamnet.cli import app, learning, main
from geocamnet.doctor import Finding
from geocamnet.errors import DataError
from geocamnet.images import list_images, read_image, write_image
from tiny import write_data

PIPELINE = [
    "synthesize", "audit", "prepare", "train", "adopt", "cam", "pretrain", "distil", "evaluate", "export", "report",
    "run", "scan", "camera", "web", "benchmark", "info", "doctor", "demo",
]  # fmt: skip
CLASSES = ["micritic_limestone", "oolite", "vug"]
SMALL = ["--image-px", "64", "--crop-px", "64", "--epochs", "2", "--batch-size", "8", "--workers", "0"]
COMMANDS = {
    "synthesize": ["synthesize", "raw", "--classes", *CLASSES, "--sections", "5", "--fields", "1", "--size-px", "96",
                   "--lights", "PPL", "--unlabelled", "0.2", "--workers", "1"],
    "prepare": ["prepare", "raw", "data", "--long-side-px", "96", "--workers", "1", "--val-share", "0.2"],
    "train": ["train", "data", "teacher", "--backbone", "resnet18", *SMALL],
    "cam": ["cam", "data", "teacher"],
    "distil": ["distil", "data", "student", "--teacher", "teacher", *SMALL],
    "evaluate": ["evaluate", "student", "data"],
    "export": ["export", "student", "student.onnx", "--data", "data", "--name", "Little", "--licence", "CC0-1.0"],
    "evaluate file": ["evaluate", "student.onnx", "data", "--no-baselines", "--no-localisation"],
    "report": ["report", "student"],
    "run": ["run", "raw/photographs", "out", "--model", "student.onnx", "--um-per-px", "5"],
    "run again": ["run", "raw/photographs", "out", "--model", "student.onnx", "--um-per-px", "5"],
    "info": ["info", "student.onnx"],
    "info of a run": ["info", "teacher"],
    "info as JSON": ["info", "student.onnx", "--json"],
    "export weights": ["export", "teacher", "teacher.pth"],
    "adopt": ["adopt", "teacher.pth", "adopted", "--classes", "classes.txt", "--data", "data",
              "--backbone", "resnet18", "--image-px", "64"],
    "alone": ["distil", "data", "alone", "--teacher", "none", *SMALL],
}  # fmt: skip

# Runs every command in one process (PyTorch is imported once), with a line between them on both streams.
DRIVER = """
import json, sys
import torch
from geocamnet.cli import main
torch.set_num_threads(1)
for name, words in json.loads(sys.argv[1]).items():
    for stream in (sys.stdout, sys.stderr):
        print(f"=== {name}", file=stream, flush=True)
    try:
        main(words)
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    print(f"=== code {code}", flush=True)
"""


def environment(**more):
    return os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100", "TERM": "dumb"} | more


def geocamnet_in_a_process(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "geocamnet", *map(str, words)],
        capture_output=True, text=True, timeout=120, check=False, env=environment(), **options,
    )  # fmt: skip


def error_of(capsys, *words):
    """What the command line says when it refuses: one line on stderr, and nothing else."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1, captured.err
    assert captured.err.startswith("Error: ")
    return captured.err


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Return the folder in which the whole pipeline was run, with what each command said."""
    pytest.importorskip("torch", reason="the pipeline trains: pip install 'geocamnet[train]'")
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "classes.txt").write_text("﻿Micritic limestone\noolite\n\nvug\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(COMMANDS)],
        capture_output=True, text=True, timeout=400, check=False, cwd=folder, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout, encoding="utf-8")
    (folder / "stderr").write_text(done.stderr, encoding="utf-8")
    return folder


def said(here, name, stream="stderr"):
    """Return what a command of the pipeline wrote to a stream."""
    text = (here / stream).read_text(encoding="utf-8").split(f"=== {name}\n", 1)[1].split("\n=== ")[0]
    return re.split(r"^=== .*", text, flags=re.M)[0].strip()


# --- the pipeline ----------------------------------------------------------------------------------------


def test_every_command_of_the_pipeline_ends_well(here):
    codes = re.findall(r"^=== code (\d+)$", (here / "stdout").read_text(encoding="utf-8"), flags=re.M)
    assert codes == ["0"] * len(COMMANDS), (here / "stderr").read_text(encoding="utf-8")


def test_what_is_said_is_ours(here):
    lines = [line for line in (here / "stderr").read_text(encoding="utf-8").splitlines() if line]
    for line in lines:
        for chatter in ("Warning", "UserWarning", "GPU", "TPU", "seed", "weights_only", "Lightning", "site-packages"):
            assert chatter not in line
    assert said(here, "synthesize") == "raw: drawn; next: geocamnet prepare raw DATA"
    assert re.fullmatch(
        r"epoch 1 of 2: loss [\d.]+, accuracy [\d.]+, balanced accuracy [\d.]+; \d:\d\d min left\n"
        r"epoch 2 of 2: loss [\d.]+, accuracy [\d.]+, balanced accuracy [\d.]+; 0:00 min left\n"
        r"teacher: resnet18, 11,178,051 parameters, 3 classes\n"
        r"next: geocamnet cam DATA teacher",
        said(here, "train"),
    ), said(here, "train")
    assert re.search(r"loss [\d.]+ \(label [\d.]+, logit [\d.]+, map [\d.]+\)", said(here, "distil"))
    assert said(here, "evaluate file") == "nothing was written; --out FOLDER keeps figures, predictions and pictures"
    last = said(here, "run").splitlines()[-1]
    counts = re.fullmatch(r"out: (\d+) named(?:, (\d+) not sure)?, 0 skipped: predictions.csv, pictures/", last)
    assert counts, last
    assert sum(int(count) for count in counts.groups(default="0")) == 15


def test_each_step_leaves_behind_what_the_readme_promises(here):
    promised = {
        "raw": ["photographs", "masks", "manifest.csv"],
        "data": ["index.csv", "images", "masks", "prepare.json"],
        "teacher": ["recipe.toml", "card.json", "metrics.json", "log.csv", "environment.txt", "cam", "tensorboard",
                    "checkpoints/best.safetensors", "checkpoints/last.ckpt"],
        "student": ["recipe.toml", "card.json", "metrics.json", "log.csv", "predictions.csv", "gallery",
                    "report.html", "checkpoints/best.safetensors"],
        "alone": ["card.json", "checkpoints/best.safetensors"],
        "adopted": ["recipe.toml", "card.json", "checkpoints/best.safetensors"],
        "out": ["predictions.csv", "skipped.csv", "summary.json", "pictures", "masks", "masks.json",
                "areas.csv", "sections.csv", "classes.csv", "areas.html"],
        ".": ["student.onnx", "teacher.pth"],
    }  # fmt: skip
    for folder, names in promised.items():
        for name in names:
            assert (here / folder / name).exists(), f"{folder}/{name}"
    assert not list(here.rglob(".aside-*"))
    assert not list(here.rglob(".last.ckpt"))


def test_the_student_knows_how_many_labels_it_was_taught_with(here):
    card = ModelCard.from_json((here / "student" / "card.json").read_text(encoding="utf-8"))
    with (here / "data" / "index.csv").open(encoding="utf-8", newline="") as stream:
        training = [row for row in csv.DictReader(stream) if row["split"] == "train"]
    labelled = sum(bool(row["labels"]) for row in training)
    assert labelled < len(training)
    assert card.teacher["photographs_with_teacher_terms"] == len(training)
    assert card.teacher["photographs_with_label_terms"] == labelled
    assert f"the teacher's terms on {len(training)}, the label's on {labelled}" in said(here, "distil")


def test_the_run_and_its_model_file_are_judged_alike(here):
    metrics = json.loads((here / "student" / "metrics.json").read_text(encoding="utf-8"))
    shown = said(here, "evaluate", "stdout")
    assert "this network" in shown
    assert "random forest" in shown
    assert "majority" in shown
    assert f"{metrics['model']['balanced_accuracy']:.3f}" in said(here, "evaluate file", "stdout")
    assert {"majority", "random_forest"} <= metrics["baselines"].keys()
    card = geocamnet.load(here / "student.onnx").card
    assert card.metrics["model"]["accuracy"] == pytest.approx(metrics["model"]["accuracy"])
    assert (card.name, card.licence) == ("Little", "CC0-1.0")


def test_every_photograph_gets_a_row_and_a_picture(here):
    with (here / "out" / "predictions.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 15
    pictures = sorted((here / "out" / "pictures").rglob("*_heatmap.jpg"))
    assert len(pictures) == 15
    assert len(list_images(here / "out" / "pictures")) == 2 * 15
    assert len(list_images(here / "out" / "masks")) == 15
    width, height = read_image(pictures[0]).shape[1::-1]
    assert width > 2 * height
    for row in rows:
        assert 0 <= float(row["probability"]) <= 1
        assert 0 <= float(row["area_percent"]) <= 100
        assert row["most_probable"] in CLASSES
        assert row["um_per_px"] == "5"
    assert said(here, "run again").splitlines()[-1] == said(here, "run").splitlines()[-1]


def test_the_report_is_one_page_that_asks_for_nothing(here):
    page = (here / "student" / "report.html").read_text(encoding="utf-8")
    assert "Balanced accuracy" in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:", page)


def test_a_card_is_shown_in_words(here):
    shown = said(here, "info", "stdout")
    assert "Little" in shown
    assert "Micritic limestone, Oolite, Vug" in shown
    assert "{" not in shown
    assert "photographs: " in shown
    assert "resnet18" in said(here, "info of a run", "stdout")
    assert ModelCard.from_json(said(here, "info as JSON", "stdout")) == geocamnet.load(here / "student.onnx").card


def test_an_adopted_teacher_is_the_teacher_it_was_exported_from(here):
    own, adopted = (
        ModelCard.from_json((here / run / "card.json").read_text(encoding="utf-8")) for run in ("teacher", "adopted")
    )
    assert adopted.class_names == own.class_names
    assert adopted.class_bias == pytest.approx(own.class_bias)
    assert adopted.map_scale == pytest.approx(own.map_scale, rel=1e-4)


# --- without PyTorch -------------------------------------------------------------------------------------

BLOCKER = """
import sys
BLOCKED = {"torch", "torchvision", "timm", "lightning", "sklearn", "skimage", "onnx", "onnxscript", "matplotlib",
           "torchmetrics", "torchcam", "safetensors", "jinja2", "tomli_w", "openpyxl", "tensorboard", "scipy"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def base_install(tmp_path_factory):
    """Return a function that runs the command line where nothing of the extra ``train`` can be imported."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "sitecustomize.py").write_text(BLOCKER)

    def run(*words, cwd=folder):
        return subprocess.run(
            [sys.executable, "-m", "geocamnet", *map(str, words)],
            capture_output=True, text=True, timeout=120, check=False, cwd=cwd,
            env=environment(PYTHONPATH=str(folder)),
        )  # fmt: skip

    blocked = subprocess.run(
        [sys.executable, "-c", "import torch"], capture_output=True, check=False,
        env=environment(PYTHONPATH=str(folder)),
    )  # fmt: skip
    assert blocked.returncode != 0
    return run


def test_the_base_install_runs_a_model_and_shows_it(base_install, student_file, tmp_path, paint):
    write_image(tmp_path / "photos" / "a.png", paint((40, 60), "oolite"))
    write_image(tmp_path / "photos" / "b.png", paint((40, 60), "vug"))
    write_image(tmp_path / "photos" / "grey.png", np.full((40, 60, 3), 128, np.uint8))
    done = base_install("run", tmp_path / "photos", tmp_path / "out", "--model", student_file)
    assert done.returncode == 0, done.stderr
    assert "2 named, 1 not sure, 0 skipped" in done.stderr.splitlines()[-1]
    assert len(list((tmp_path / "out" / "pictures").glob("*_heatmap.jpg"))) == 3
    assert (tmp_path / "out" / "areas.html").is_file()
    done = base_install("info", student_file)
    assert done.returncode == 0, done.stderr
    assert "three colour filters" in done.stdout


def test_the_base_install_examines_itself(base_install):
    done = base_install("doctor")
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)
    assert "onnxruntime" in done.stdout


def test_the_base_install_prepares_a_data_set(base_install, tmp_path, paint):
    for number in range(4):
        image = paint((40, 60), "oolite", seed=number)
        write_image(tmp_path / "raw" / ("vug" if number % 2 else "oolite") / f"{number}.png", image)
    done = base_install("prepare", tmp_path / "raw", tmp_path / "data", "--workers", "1")
    assert done.returncode == 0, done.stderr


def test_training_without_its_packages_says_how_to_get_them(base_install, tmp_path):
    done = base_install("train", tmp_path / "data", tmp_path / "run")
    assert done.returncode == 2
    assert "pip install 'geocamnet[train]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- help ------------------------------------------------------------------------------------------------


def test_help_lists_the_commands_in_the_order_of_the_pipeline():
    done = geocamnet_in_a_process("--help")
    assert done.returncode == 0
    listed = re.findall(r"^│ (\w+) +\w", done.stdout, flags=re.M)
    assert listed == PIPELINE
    assert done.stderr == ""


def test_the_version_is_told():
    done = geocamnet_in_a_process("--version")
    assert (done.returncode, done.stdout.strip()) == (0, geocamnet.__version__)


def test_a_scan_is_mapped(tmp_path, student_file, paint, capsys):
    pytest.importorskip("tifffile", reason="scans need tifffile: pip install 'geocamnet[big]'")
    write_image(tmp_path / "section.tif", paint((100, 180), "oolite", "vug"))
    words = ["scan", tmp_path / "section.tif", tmp_path / "out", "--model", student_file]
    done = geocamnet_in_a_process(*words, "--um-per-px", "2")
    assert done.returncode == 0, done.stderr
    assert "180 x 100 px, 2 um a pixel" in done.stderr
    assert "classes.geojson" in done.stderr
    assert (tmp_path / "out" / "overview.jpg").is_file()
    assert "um_per_px" in error_of(capsys, *words)


@pytest.mark.parametrize("command", PIPELINE)
def test_each_command_describes_itself_and_every_option(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    main([command, "--help"])
    shown = capsys.readouterr().out
    assert f"geocamnet {command}" in shown
    for line in shown.splitlines():
        # Every option is followed by words, not by its default alone.
        if re.match(r"│[ *]+(--|[A-Z]+ --)", line):
            assert re.search(r"  +[A-Za-z0-9/.].* \S", line.strip("│ ")), line
            assert not re.search(r"--[\w.-]+( [A-Z.]+)?  +\[default", line), line


def test_the_commands_of_the_readme_are_those_there_are():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"geocamnet ([a-z]+)\b", readme)) - {"as"}
    assert named <= set(PIPELINE)


# --- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian", "DATA", "RUN"], 'Did you mean "train"?'),
        (["train", "DATA", "RUN", "--epoch", "3"], "Did you mean --epochs?"),
        (["train", "DATA", "RUN", "--epochs", "many"], "--epochs"),
        (["train", "DATA"], "geocamnet train --help"),
        (["evaluate", "RUN", "DATA", "--split", "tset"], '"test"'),
        (["run", "PHOTOS", "OUT", "MORE"], "MORE"),
    ],
)
def test_a_wrong_word_is_one_line_with_what_is_right(words, told, capsys):
    assert told in error_of(capsys, *words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["prepare", "none", "data"], "none: no such folder"),
        (["cam", "none", "none"], "none: has no card.json"),
        (["evaluate", "none.onnx", "none"], "no such model file"),
        (["export", "none", "m.onnx"], "none: has no card.json"),
        (["report", "none"], "none: no such folder"),
        (["run", "none", "out", "--model", "none.onnx"], "none.onnx: no such model file"),
        (["info", "none.onnx"], "none.onnx: no such model file"),
        (["adopt", "w.pth", "run", "--classes", "none.txt", "--data", "none"], "none.txt: no such file"),
    ],
)
def test_what_is_not_there_is_one_line_that_names_it(words, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in error_of(capsys, *words)
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_a_process_has_no_stack_trace_and_a_code_of_its_own(tmp_path):
    done = geocamnet_in_a_process("prepare", tmp_path / "none", tmp_path / "data")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"Error: {tmp_path / 'none'}: no such folder.\n"


def test_ctrl_c_says_that_what_is_done_is_kept(capsys, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("geocamnet.train.prepare.prepare", stop)
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "raw", "data"])
    assert ended.value.code == 130
    assert "What was done is kept" in capsys.readouterr().err


def test_a_fault_of_our_own_is_not_dressed_up_as_the_users(monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("geocamnet.train.prepare.prepare", broken)
    with pytest.raises(ZeroDivisionError):
        main(["prepare", "raw", "data"])


# --- what is shown ---------------------------------------------------------------------------------------


def test_doctor_shows_a_fix_for_what_is_wrong_and_a_note_for_what_could_be_had(capsys, monkeypatch):
    findings = [
        Finding("Python", True, "3.12"),
        Finding("Display", True, "none", "work at the machine itself"),
        Finding("numpy", False, "not installed", "pip install 'numpy>=1.26'"),
    ]
    monkeypatch.setattr("geocamnet.doctor.examine", lambda: findings)
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 1
    assert capsys.readouterr().out.splitlines() == [
        "ok  Python: 3.12",
        "ok  Display: none",
        "      work at the machine itself",
        "fix numpy: not installed",
        "      pip install 'numpy>=1.26'",
    ]


def test_a_card_of_several_labels_and_no_figures_is_shown_too(capsys, tmp_path, make_student, tiny_card):
    card = replace(tiny_card, labels="multi", data={}, um_per_px=2.5, long_side_px=None)
    main(["info", str(make_student(tmp_path / "m.onnx", card))])
    shown = capsys.readouterr().out
    assert "several a photograph" in shown
    assert "2.5 µm a pixel" in shown
    assert "none written" in shown


def test_without_a_model_named_the_bundled_one_is_used_and_told(
    capsys, caplog, tmp_path, monkeypatch, student_file, tiny_card, paint
):
    monkeypatch.setattr("geocamnet.runtime.model.bundled_student", lambda: student_file)
    write_image(tmp_path / "a.png", paint((40, 60), "oolite"))
    main(["run", str(tmp_path / "a.png"), str(tmp_path / "out")])
    assert caplog.messages[0] == f"bundled student: {tiny_card.summary}"
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8-sig", newline="") as stream:
        assert next(csv.DictReader(stream))["label"] == "oolite"
    caplog.clear()
    main(["info"])
    assert caplog.messages == [f"bundled student: {tiny_card.summary}"]
    assert "three colour filters" in capsys.readouterr().out


def test_a_model_of_one_scale_warns_where_that_of_the_photographs_is_not_known(
    caplog, tmp_path, make_student, tiny_card, paint
):
    model = make_student(tmp_path / "m.onnx", replace(tiny_card, um_per_px=2.5, long_side_px=None))
    write_image(tmp_path / "a.png", paint((40, 60), "oolite"))
    main(["run", str(tmp_path / "a.png"), str(tmp_path / "out"), "--model", str(model)])
    assert any("knows rock at 2.5 um a pixel" in one and "--um-per-px" in one for one in caplog.messages)
    caplog.clear()
    main(["run", str(tmp_path / "a.png"), str(tmp_path / "known"), "--model", str(model), "--um-per-px", "5"])
    assert not any("knows rock at" in one for one in caplog.messages)


def test_a_benchmark_shows_its_tables_writes_its_figures_and_keeps_the_fastest(
    capsys, caplog, tmp_path, monkeypatch, make_student, tiny_card
):
    monkeypatch.setenv("GEOCAMNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    caplog.set_level("INFO", logger="geocamnet")
    record = {"same_name": 1.0, "balanced_accuracy": {"fp32": 0.9, "int8": 0.9}}
    small = replace(tiny_card, precision="int8", quantisation=record)
    files = [str(make_student(tmp_path / "m.onnx", tiny_card)), str(make_student(tmp_path / "m.int8.onnx", small))]
    figures = tmp_path / "figures.json"
    main(["benchmark", *files, "--size-px", "96x64", "64×48", "--repeats", "2", "--keep", "--out", str(figures)])
    shown = capsys.readouterr().out
    assert "96x64: median and 95th percentile of 2 repeats, ms" in shown
    assert "64x48" in shown
    assert "texture" in shown
    assert "on this machine" in shown
    assert "Peak memory" in shown
    assert json.loads(figures.read_text(encoding="utf-8"))["repeats"] == 2
    assert "geocamnet run opens m." in caplog.text
    assert (tmp_path / "cache" / "fastest.json").is_file()


def test_a_benchmark_that_is_stopped_shows_what_it_has_and_keeps_nothing(capsys, tmp_path, monkeypatch, student_file):
    from geocamnet.runtime import benchmark

    monkeypatch.setenv("GEOCAMNET_CACHE", str(tmp_path / "cache"))
    take, taken = benchmark._take, []

    def take_some(*arguments):
        taken.append(1)
        if len(taken) > benchmark.WARM_UP + 2:
            raise KeyboardInterrupt
        return take(*arguments)

    monkeypatch.setattr(benchmark, "_take", take_some)
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", str(student_file), "--size-px", "32x32", "--threads", "1", "--keep"])
    assert ended.value.code == 130
    assert "Stopped after 2 repeats." in capsys.readouterr().out
    assert not (tmp_path / "cache").exists()


def test_a_frame_size_that_is_none_is_refused(capsys, student_file):
    assert "received '512'" in error_of(capsys, "benchmark", student_file, "--size-px", "512")


def test_classes_the_model_does_not_know_are_told_after_judging(capsys, caplog, tmp_path, student_file):
    data = write_data(tmp_path / "data", test={"oolite": 2, "vug": 1, "chert_nodule": 3})
    main(["evaluate", str(student_file), str(data), "--no-baselines", "--no-localisation"])
    assert "3 photographs" in capsys.readouterr().out
    assert "chert_nodule 3" in caplog.text


def test_a_photograph_that_is_skipped_is_named_with_its_reason(caplog, tmp_path, student_file, paint):
    write_image(tmp_path / "photos" / "good.png", paint((40, 60), "oolite"))
    (tmp_path / "photos" / "bad.jpg").write_text("not a photograph")
    with caplog.at_level("INFO", logger="geocamnet"):
        main(["run", str(tmp_path / "photos"), str(tmp_path / "out"), "--model", str(student_file)])
    assert re.search(r"skipped .*bad\.jpg: .*not an image", caplog.text)
    assert "1 named, 1 skipped" in caplog.text


def test_fields_in_both_lights_and_photographs_alone_are_counted(caplog, tmp_path, student_file, paint):
    for name in ("1_PPL", "1_XPL", "2"):
        write_image(tmp_path / "photos" / f"{name}.png", paint((40, 60), "oolite"))
    with caplog.at_level("INFO", logger="geocamnet"):
        main(["run", str(tmp_path / "photos"), str(tmp_path / "out"), "--model", str(student_file), "--pairs"])
    assert "2 named, 0 skipped" in caplog.text
    assert "1 field(s) of several photographs, 1 photograph(s) alone" in caplog.text


def test_sections_and_porosity_are_measured_as_asked_for(caplog, capsys, tmp_path, student_file, paint):
    for name in ("x_S1_a", "x_S1_b", "x_S2_a"):
        write_image(tmp_path / "photos" / f"{name}.png", paint((40, 60), "oolite", "vug"))
    call = ["run", str(tmp_path / "photos"), str(tmp_path / "out"), "--model", str(student_file), "--porosity", "blue"]
    with caplog.at_level("INFO", logger="geocamnet"):
        main([*call, "--section-regex", r"_(S\d)_", "--points", "300", "--seed", "2", "--count-refused"])
    assert "2 thin section(s): areas.html, areas.csv, sections.csv, classes.csv" in caplog.text
    with (tmp_path / "out" / "sections.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["section"] for row in rows] == ["S1", "S2", "(all)"]
    assert float(rows[0]["porosity_percent"]) == pytest.approx(50, abs=3)  # vugs are painted blue
    assert "matches none" in error_of(capsys, *call, "--section-regex", "(nowhere)")
    error_of(capsys, *call[:-1], "red")


def test_all_attitudes_is_told_and_is_not_mixed_with_one(caplog, capsys, tmp_path, student_file, paint):
    write_image(tmp_path / "photos" / "1.png", paint((40, 60), "oolite"))
    call = ["run", str(tmp_path / "photos"), str(tmp_path / "out"), "--model", str(student_file)]
    main([*call, "--all-attitudes"])
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["settings"]["all_attitudes"] is True
    with pytest.raises(SystemExit):
        main(call)
    assert "all_attitudes" in capsys.readouterr().err + caplog.text
    data = write_data(tmp_path / "data", test={"oolite": 2, "vug": 1})
    main(["evaluate", str(student_file), str(data), "--no-baselines", "--no-localisation", "--all-attitudes",
          "--out", str(tmp_path / "judged")])  # fmt: skip
    assert json.loads((tmp_path / "judged" / "metrics-all-attitudes.json").read_text(encoding="utf-8"))["all_attitudes"]


def test_several_values_follow_one_option():
    _, bound, _ = app.parse_args(["synthesize", "RAW", "--classes", "oolite", "vug", "--seed", "3"])
    assert bound.arguments["settings"].classes == ("oolite", "vug")
    assert bound.arguments["settings"].seed == 3
    assert bound.arguments["raw"] == Path("RAW")


def test_classes_of_an_adopted_teacher_are_read_as_people_write_them(tmp_path, monkeypatch):
    taken = {}

    def take_over(weights, run, *, classes, data, recipe):
        taken["classes"] = classes
        raise DataError("enough")

    pytest.importorskip("torch", reason="adopting needs PyTorch: pip install 'geocamnet[train]'")
    monkeypatch.setattr("geocamnet.train.training.adopt", take_over)
    (tmp_path / "classes.txt").write_text("Oolite\n\n  Micritic limestone \n", encoding="utf-8")
    with pytest.raises(DataError):
        learning.adopt(Path("w.pth"), Path("run"), classes=tmp_path / "classes.txt", data=Path("data"))
    assert taken["classes"] == ["oolite", "micritic_limestone"]
