"""The README and the documentation say what is there: commands, links, figures, files, code."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from geocamnet.cli import app

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
]
FIGURES = ROOT / "docs" / "figures.py"

sys.path.insert(0, str(ROOT / "docs"))
import figures  # noqa: E402
import studies  # noqa: E402


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page):
    """Every command of a page: lines of bash blocks, and what stands in backticks."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in blocks(page, "bash") for line in block.replace("\\\n", " ").splitlines()]
    spans = [one.replace("\n", " ") for one in re.findall(r"(?<!`)`((?:geocamnet|make) [^`]+)`(?!`)", text)]
    split = [shlex.split(line, comments=True) for line in (*lines, *spans)]
    return [words for words in split if words]


def name_of(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_make_target_that_is_named_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {words[1] for words in commands(page) if words[0] == "make"}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_geocamnet_command_that_is_shown_parses(page):
    for words in commands(page):
        if words[0] != "geocamnet":
            continue
        arguments = words[1:]
        if arguments[-1] == "--help" or arguments == ["COMMAND", "--help"]:
            continue
        if "--recipe" in arguments:
            at = arguments.index("--recipe")
            del arguments[at : at + 2]
        # A verb alone, as in prose, names the command; with words behind it all of it must parse.
        if len(arguments) == 1:
            assert arguments[0] in list(app), words
        else:
            app.parse_args(arguments, exit_on_error=False, print_error=False)


def test_a_wrong_command_would_be_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```bash\ngeocamnet prepare RAW DATA --no-such-option\n```\n")
    (words,) = commands(page)
    with pytest.raises(Exception, match="no-such-option"):
        app.parse_args(words[1:], exit_on_error=False, print_error=False)


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_to_a_file_resolves(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.name}: {target}"


def test_the_tree_of_the_documentation_holds_every_page():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = {line for block in re.findall(r"```{toctree}\n(.*?)```", index, re.DOTALL) for line in block.split()}
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in PAGES if "docs" in path.parts}
    assert pages - {"index"} <= listed


def test_the_reference_has_a_section_for_every_command():
    text = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    verbs = sorted((verb for verb in app if not verb.startswith("-")), key=lambda verb: app[verb].sort_key)
    assert re.findall(r"^```{cli} (\w+)", text, re.MULTILINE) == verbs
    assert re.findall(r"^## (\w+)", text, re.MULTILINE) == verbs


def test_the_reference_has_a_meaning_for_every_option_and_choice():
    pytest.importorskip("sphinx", reason="the tables of the reference need Sphinx: pip install 'geocamnet[docs]'")
    import tables

    from geocamnet.train import recipes

    for verb in app:
        if not verb.startswith("-"):
            assert [name for name, meaning, _ in tables.options_of(verb) if not meaning] == []
    for recipe in ("SynthesizeRecipe", "PrepareRecipe", "AugmentRecipe", "TrainRecipe", "CamRecipe", "DistilRecipe"):
        assert all(meaning for _, meaning, _ in tables.choices_of(getattr(recipes, recipe)))
    assert len(list(tables.class_rows())) == 22


def test_the_table_of_steps_names_every_command():
    steps = set(re.findall(r"`geocamnet (\w+)", README.read_text(encoding="utf-8")))
    assert {verb for verb in app if not verb.startswith("-")} - {"demo"} <= steps


def test_architecture_names_every_source_file():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    files = [path for path in (ROOT / "src").rglob("*.py") if path.name != "__init__.py"]
    assert [path.name for path in files if not re.search(rf"[ ─]{re.escape(path.name)} ", text)] == []


def test_readme_and_documentation_show_the_figures_of_the_results():
    run = subprocess.run([sys.executable, FIGURES, "--check"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


REAL = {
    "data": "carbonate-lithology (real)",
    "sections_known": False,
    "n_test": 205,
    "seeds": [0, 1],
    "names": {
        "majority": {"accuracy": [0.5, 0.5], "balanced_accuracy": [1 / 3, 1 / 3], "macro_f1": [0.2, 0.2]},
        "student": {"accuracy": [0.7, 0.8], "balanced_accuracy": [0.6, 0.7], "macro_f1": [0.6, 0.7]},
    },
    "heatmaps": {"grey": {"energy": 0.25, "miou": 0.1}, "model": {"energy": 0.5, "miou": 0.3}},
    "heatmaps_kind": "mosaics",
    "area_share": 0.25,
    "parameters": 574779,
    "teacher": {"architecture": "ResNet101", "parameters": 42545238},
    "caveats": ["No section ids are known."],
    "minutes": 30.0,
    "version": "0.1.0",
}


def test_figures_keep_real_and_drawn_apart_and_show_baselines_and_caveats(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "carbonate-lithology.json").write_text(json.dumps(REAL))
    text = figures.figures(tmp_path)
    real, drawn = text.split("### Drawn thin sections")
    assert "| **student, distilled** | 0.750 (0.700 to 0.800) | 0.650 (0.600 to 0.700) |" in real
    assert "| always the commonest class | 0.500 (0.500 to 0.500) |" in real
    assert real.index("**student, distilled** | 0.300") < real.index("| grey level | 0.100")
    assert "no thin-section ids are known" in real
    assert "- No section ids are known." in real
    assert "0.250 of its energy" in real
    assert "Not measured yet" in drawn
    assert "Not measured yet" not in real


def test_the_readme_tells_in_a_sentence_what_the_results_page_tells_in_a_table(tmp_path):
    names = {who: {"balanced_accuracy": [value]} for who, value in
             {"teacher": 0.5, "student": 0.6, "student_alone": 0.7, "random_forest": 0.8}.items()}  # fmt: skip
    folds = REAL | {"folds": [0, 1], "area_share": [0.25, 0.25], "names": names}
    (tmp_path / "results").mkdir()
    for name, result in {"carbonate-lithology": REAL | {"names": names}, "carbonate-folds": folds}.items():
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps(result))
    brief = figures.figures(tmp_path).split("### Without published weights")[1].split("###")[0]
    assert "of the teacher 0.50, of its student 0.60, of the student alone 0.70, of the random forest 0.80" in brief
    assert "give the teacher published weights, or do without one." in brief
    assert "| names |" not in brief
    assert "Without published weights" not in figures.figures(tmp_path, every=True)


def test_the_margin_over_the_student_alone_is_told_with_its_spread_once_there_are_several_seeds():
    one = {"seeds": [0.02], "mean": 0.02, "spread_seeds": None, "spread": 0.03, "better": 3, "of": 5}
    margin = dict.fromkeys(("accuracy", "balanced_accuracy", "nll", "accuracy_attitudes", "nll_attitudes"), one)
    assert "spread over seeds" not in studies.margin_over_alone({"student_above_alone": margin})[0]
    margin |= {"accuracy": one | {"seeds": [0.02, 0.01], "spread_seeds": 0.005}}
    (text,) = studies.margin_over_alone({"student_above_alone": margin})
    assert "accuracy +0.020, spread over seeds 0.005, better in 3 of 5" in text
    assert "balanced" in text
    assert "balanced" not in studies.margin_over_alone({"student_above_alone": margin}, every=False)[0]
    assert studies.margin_over_alone({}) == []


def test_figures_compare_evidence_summed_with_one_network_for_both_lights(tmp_path):
    assert "Not measured yet: `make lights`" in figures.figures(tmp_path, every=True)
    row = {"accuracy": [0.5, 0.7], "balanced_accuracy": [0.6, 0.6], "energy": [0.4, 0.4], "pointing": [0.3, 0.5]}
    found = {"fields": 12, "rows": {"evidence summed": row, "six channels": row}}
    result = {"data": {"sand (real)": found, "drawn": found}, "epochs": 20, "image_px": 192, "caveats": ["Small."]}
    (tmp_path / "results").mkdir()
    (tmp_path / studies.LIGHTS).write_text(json.dumps(result), encoding="utf-8")
    text = figures.figures(tmp_path, every=True).split("### PPL and XPL of a field")[1]
    assert text.count("| six channels | 0.600 (0.500 to 0.700) | 0.600 (0.600 to 0.600) | 0.400 (0.400") == 2
    assert "| sand (real), 12 fields |" in text
    assert "- Small." in text
    assert "PPL and XPL of a field" not in figures.figures(tmp_path)


def test_figures_of_masks_name_both_lights_and_what_is_wrong_with_them(tmp_path):
    assert "masks" not in figures.figures(tmp_path)
    names = {who: {"accuracy": [0.5, 0.6], "balanced_accuracy": [0.4, 0.5]} for who in figures.WHO}
    result = {
        "data": "sandstone-masks (real)",
        "classes": ["feldspar", "quartz"],
        "folds": [{}, {}],
        "n_test": 96,
        "parameters": 575_000,
        "teacher": {"architecture": "resnet18", "parameters": 11_000_000},
        "names": names,
        "names_by_light": {"student_PPL": names["student"], "student_field": names["student"]},
        "heatmaps": {"student": {"energy": [0.5, 0.6]}, "student_field": {"energy": [0.6, 0.7]}},
        "area_share": [0.4, 0.3],
        "caveats": ["Sandstone, not carbonate."],
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "sandstone-masks.json").write_text(json.dumps(result))
    brief = figures.figures(tmp_path).split("### Sandstone")[1]
    assert "energy inside 0.55 (with PPL and XPL together 0.65, teacher 0.00, best plain map 0.00)" in brief
    assert "| **student" not in brief
    text = figures.figures(tmp_path, every=True).split("### Sandstone")[1]
    assert "| **student, distilled**, PPL and XPL together | 0.550 (0.500 to 0.600) |" in text
    assert "| student, PPL and XPL together | 0.650 (0.600 to 0.700) |" in text
    assert "The student does not name better with the teacher than alone." in text
    assert "- Sandstone, not carbonate." in text


def test_figures_of_the_demo_are_said_to_be_drawn(tmp_path):
    result = {
        "data": "drawn thin sections (synthetic)",
        "classes": 10,
        "parameters": 577810,
        "teacher": {"architecture": "ResNet101", "parameters": 42520640},
        "teaching": {"photographs_with_teacher_terms": 90, "photographs_with_label_terms": 60},
        "names": {who: {"accuracy": 0.5, "balanced_accuracy": 0.4, "n": 9} for who in figures.WHO},
        "heatmaps": {"student": {"miou": 0.4}, "grey": {"miou": 0.4}, "something_new": {"miou": 0.2}},
        "composite_fields": {"val": 17, "test": 27},
        "heatmap_area_share": 0.4,
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "demo.json").write_text(json.dumps(result))
    real, drawn = figures.figures(tmp_path, every=True).split("### Drawn thin sections")
    assert "Not measured yet" in real
    assert "on 90 photographs, from a label on 60 of them" in drawn
    assert "| something new | 0.200 |" in drawn
    assert "macro F1" not in drawn
    assert "9 test photographs, 27 composite fields" in drawn
    assert "The random forest names better than the student." in drawn
    assert "of calling the whole picture hot" in drawn
    assert "| random forest on texture and grey histograms | 0.500 | 0.400 |" in drawn


def test_readme_keeps_the_main_rows_and_the_page_of_figures_all_of_them(tmp_path):
    heat = {name: {"miou": 0.4} for name in ("model", "model_superpixels", "teacher_texture", "glcm_entropy", "random")}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "carbonate-lithology.json").write_text(json.dumps(REAL | {"heatmaps": heat}))
    short, every = figures.figures(tmp_path), figures.figures(tmp_path, every=True)
    for row in ("| **student, distilled** | 0.400 |", "| chance | 0.400 |"):
        assert row in short
        assert row in every
    for row in ("student, mean of superpixels", "teacher, refined with texture", "GLCM entropy alone"):
        assert row not in short
        assert f"| {row} | 0.400 |" in every
    assert "(docs/results.md)" in short


def test_figures_say_by_how_much_texture_helps(tmp_path):
    row = {"miou": 0.4, "pixel_ap": 0.6, "energy": 0.5, "pointing": 0.7, "validation": {"miou": 0.3, "pixel_ap": 0.55}}
    gap = {"mean": -0.01, "low": -0.03, "high": 0.02}
    result = {
        "model": "Demo student",
        "photographs": {"val": 17, "test": 27},
        "table": {"model": row, "texture": row, "texture_chosen": row},
        "texture_helps": {"texture": {"model": {"val": gap, "test": gap}}},
    }
    assert "Not measured yet: `make refinements`" in figures.figures(tmp_path, every=True)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "heatmap-refinements.json").write_text(json.dumps(result))
    text = figures.figures(tmp_path, every=True).partition("### Refinements")[2]
    assert "| the heatmap as it is | 0.300 | 0.550 | 0.400 | 0.600 | 0.500 | 0.700 |" in text
    assert "| refined with texture, settings chosen | 0.300 |" in text
    difference = "-0.010 (-0.030 to +0.020)"
    assert f"| refined with texture, less the heatmap as it is | {difference} | {difference} |" in text


def test_figures_say_what_each_part_of_distillation_is_worth(tmp_path):
    assert studies.parts_of_distillation(tmp_path).count("Not measured yet") == 2
    (tmp_path / "results").mkdir()
    less = {"mean": -0.02, "standard_error": 0.01}
    ablated = {
        "data": "rocks (real), validation parts",
        "folds": [0, 1], "seeds": [0], "n": 162,
        "epochs": 30, "image_px": 192, "teacher": "efficientnet_lite0", "area_share": 1 / 3, "caveats": ["Small."],
        "variants": {"all of it": {"accuracy": [0.7, 0.8], "balanced_accuracy": [0.6, 0.7], "energy": [0.5, 0.6]}},
        "against_first": {who: dict.fromkeys(("accuracy", "balanced_accuracy", "nll", "energy"), less)
                          for who in ("all of it", "alone")},
    }  # fmt: skip
    started = {
        "data": "drawn sections", "photographs": 3324, "crops_seen": 398880, "crop_px": 128, "judged_on": 196,
        "teacher": "efficientnet_lite0", "kilobytes": 1234, "caveats": [],
        "cycles": [{"epochs": 45, "distance": 0.48}, {"epochs": 75, "distance": 0.4}],
    }  # fmt: skip
    for file, values in ((studies.ABLATED, ablated), (studies.STARTED, started)):
        (tmp_path / file).write_text(json.dumps(values), encoding="utf-8")
    text = studies.parts_of_distillation(tmp_path)
    assert "162 photographs in 2 folds" in text
    assert "| all of it | 0.750 (0.700 to 0.800) | 0.650 (0.600 to 0.700) | 0.550 (0.500 to 0.600) |" in text
    assert "| alone | -0.020 ± 0.010 |" in text
    assert "| all of it | -0.020" not in text
    assert "398,880 crops" in text
    assert "| 2 | 75 | 0.400 |" in text
    assert "Not measured" not in text


def test_figures_say_what_labels_allow_and_what_is_refused_and_lost(tmp_path):
    pages = (studies.ceiling_of_labels, studies.refusals_of_strangers, studies.bundled_precision)
    assert all("Not measured yet" in page(tmp_path) for page in pages)
    (tmp_path / "results").mkdir()
    row = {"accuracy": 0.8, "balanced_accuracy": 0.7}
    ceiling = {
        "data": "rocks (real)", "photographs": 200, "judges": {"forest": row, "linear": row, "teacher": row},
        "together": {"accuracy": 0.85, "balanced_accuracy": 0.75}, "contested": {"chert, called oolite": 8},
        "right": {"all four": 120, "some": 60, "none": 20, "none, and all four name the same other class": 10},
        "nearest_has_another_label": 0.37, "training_photographs": [40, 160],
        "learning_curve": {"forest": [row, row], "linear": [row, row]},
    }  # fmt: skip
    refused = {
        "model": "a student", "classes": ["a", "b"], "data": "rocks",
        "kinds": {"known": {"photographs": 50, "refused": 5, "named": 45, "not sure": 3, "nothing here": 2}},
    }  # fmt: skip
    bundled = {
        "model": "a student", "parameters": 575000, "kilobytes": 664, "n_test": 163, "data": "rocks (real)",
        "precisions": {"fp32": row | {"energy": 0.6}, "int8-weights": row | {"energy": 0.59}},
    }  # fmt: skip
    for file, values in ((studies.CEILING, ceiling), (studies.REFUSED, refused), (studies.BUNDLED, bundled)):
        (tmp_path / file).write_text(json.dumps(values), encoding="utf-8")
    text = studies.ceiling_of_labels(tmp_path)
    assert "| the mean of all four | 0.850 | 0.750 |" in text
    assert "on 10 of those (5.0%) all four name the same other class: 8 chert, called oolite." in text
    assert "| random forest on texture and grey histograms, 160 photographs | 0.800 | 0.700 |" in text
    assert "| known | 50 | 10% | 3 | 2 |" in studies.refusals_of_strangers(tmp_path)
    assert "| int8-weights | 0.800 | 0.700 | 0.590 |" in studies.bundled_precision(tmp_path)


def test_figures_stand_between_the_marks_and_nothing_else_changes():
    text = f"before\n{figures.START}\nold\n{figures.END}\nafter\n"
    assert figures.filled(text, "new") == f"before\n{figures.START}\nnew\n{figures.END}\nafter\n"
    with pytest.raises(SystemExit, match="marks"):
        figures.filled("no marks", "new")


@pytest.fixture
def workplace(tmp_path, monkeypatch, student_file, paint):
    """A folder with what the code in the documentation opens: a model file and photographs."""
    from geocamnet.images import write_image

    (tmp_path / "student.onnx").write_bytes(student_file.read_bytes())
    for name in ("section.jpg", "field_PPL.jpg", "field_XPL.jpg"):
        write_image(tmp_path / name, paint((48, 64), "oolite", "vug"))
    for number in range(2):
        write_image(tmp_path / "photographs" / f"{number}.png", paint((48, 64), "foam", seed=number))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "how-to" / "python.md"], ids=name_of)
def test_the_python_code_shown_runs(page, workplace):
    found = blocks(page, "python")
    assert found
    for code in found:
        exec(compile(code, page.name, "exec"), {})


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_every_example_runs_on_a_drawn_section(example, workplace):
    needs_model = "MODEL.onnx" in example.read_text(encoding="utf-8").partition('"""\n\n')[0]
    arguments = ["student.onnx"] if needs_model else []
    run = subprocess.run(
        [sys.executable, example, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=workplace,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout


def test_the_citation_file_is_complete():
    yaml = pytest.importorskip("yaml", reason="reading CITATION.cff needs PyYAML: pip install 'geocamnet[docs]'")
    from geocamnet import __version__

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == __version__
    assert cited["license"] == "Apache-2.0"
    assert all(one["authors"] and one["title"] and one["type"] for one in cited["references"])
    assert {2016, 2019, 2023, 2013, 1973} <= {one.get("year") for one in cited["references"]}


def test_the_pictures_of_the_readme_are_there():
    from geocamnet.images import read_image

    pictures = re.findall(r"!\[.+?\]\((.+?)\)", README.read_text(encoding="utf-8"))
    assert pictures == ["docs/images/demo.jpg", "docs/images/page.jpg"]
    for picture in pictures:
        image = read_image(ROOT / picture)
        assert image.shape[1] > image.shape[0]
        assert np.ptp(image) > 100
