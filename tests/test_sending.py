"""Results wanted at a URL: sent when all are there, the last word last; stopped, changed and continued elsewhere."""

import json
import shutil

import pytest

from drawn import contents
from geocamnet.cli import main
from geocamnet.images import write_image
from geocamnet.runtime.kept import FOLDER_VARIABLE

PHOTOGRAPHS = ("a b.jpg", "鲕粒/no#1.jpg", "鲕粒/100%25 of %.jpg")


@pytest.fixture
def photographs(tmp_path, paint):
    folder = tmp_path / "photographs"
    for number, name in enumerate(PHOTOGRAPHS):
        write_image(folder / name, paint((40, 60), ("oolite", "foam", "vug")[number]))
    return folder


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Go to a machine of that name: one whose cache is its own."""

    def go(name):
        monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / name))

    go("first")
    return go


@pytest.fixture
def sent(memory, monkeypatch):
    """The names of files in the order in which they are put into the store or taken away; may break it."""

    class Log(list):
        until = 10_000

    log, put, remove = Log(), type(memory).put_file, type(memory).rm_file

    def putting(self, here, there, **options):
        if len(log) >= log.until:
            raise ConnectionResetError("gone")
        log.append(there)
        put(self, here, there, **options)

    def removing(self, path):
        log.append(f"-{path}")
        remove(self, path)

    monkeypatch.setattr(type(memory), "put_file", putting)
    monkeypatch.setattr(type(memory), "rm_file", removing)
    return log


def at(memory, below):
    """What lies below a place of the store, as `contents` gives it of a folder."""
    found = {}
    for name, info in memory.find(below, detail=True).items():
        if info["type"] == "file":
            content = memory.cat_file(name)
            if name.endswith("/predictions.csv"):
                text = content.decode("utf-8-sig")
                content = "\n".join(line.rsplit(",", 1)[0] for line in text.splitlines()).encode()
            found[name.removeprefix(f"{below}/")] = content
    return found


def run(photographs, out, student_file, *more):
    main(["run", str(photographs), str(out), "--model", str(student_file), *more])


def fails(capsys, *words):
    """Return the sentence with which a command fails."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_results_at_a_url_are_those_of_a_folder_and_the_summary_comes_last(
    memory, sent, machine, photographs, student_file, tmp_path, caplog
):
    run(photographs, tmp_path / "here", student_file)
    run(photographs, "memory://out/run 1", student_file)
    assert at(memory, "/out/run 1") == contents(tmp_path / "here")
    assert sent[-2:] == ["/out/run 1/areas.html", "/out/run 1/summary.json"]
    assert f"memory://out/run 1: {len(sent)} file(s) sent" in caplog.text
    assert not (tmp_path / "memory:").exists()


def test_a_second_call_sends_what_is_new_and_takes_the_summary_away_first(
    memory, sent, machine, photographs, student_file, paint
):
    run(photographs, "memory://out", student_file)
    write_image(photographs / "new.jpg", paint((40, 60), "foam"))
    sent.clear()
    run(photographs, "memory://out", student_file)
    assert sent[:2] == ["-/out/summary.json", "-/out/areas.html"]
    assert sent[-1] == "/out/summary.json"
    assert {name for name in sent if "/pictures/" in name} == {
        "/out/pictures/new_jpg_areas.jpg",
        "/out/pictures/new_jpg_heatmap.jpg",
    }
    assert json.loads(memory.cat_file("/out/summary.json"))["photographs"] == 4


def test_sending_that_is_cut_leaves_no_summary_and_goes_on(
    memory, sent, machine, photographs, student_file, paint, tmp_path, capsys
):
    run(photographs, "memory://out", student_file)
    write_image(photographs / "new.jpg", paint((40, 60), "foam"))
    sent.until = len(sent) + 4
    told = fails(capsys, "run", photographs, "memory://out", "--model", student_file)
    assert "can't be used (gone)" in told
    assert "same command goes on" in told
    assert not {"summary.json", "areas.html"} & at(memory, "/out").keys()
    sent.until = 10_000
    run(photographs, "memory://out", student_file)
    run(photographs, tmp_path / "here", student_file)
    assert at(memory, "/out").keys() == contents(tmp_path / "here").keys()
    assert at(memory, "/out")["summary.json"] == contents(tmp_path / "here")["summary.json"]


def test_another_machine_fetches_what_is_there_and_goes_on(
    memory, sent, machine, photographs, student_file, paint, caplog, capsys
):
    run(photographs, "memory://out", student_file)
    machine("second")
    write_image(photographs / "new.jpg", paint((40, 60), "foam"))
    sent.clear()
    run(photographs, "memory://out", student_file)
    assert "fetching" in caplog.text
    assert sum("/masks/" in name for name in sent) == 1  # the others were not made again
    before = at(memory, "/out")

    machine("first")  # which knows nothing of what the second one did
    told = fails(capsys, "run", photographs, "memory://out", "--model", student_file)
    assert "was not put there by this machine, or has been changed since" in told
    assert at(memory, "/out") == before


def test_after_the_copy_is_deleted_as_told_the_command_goes_on_from_the_store(
    memory, machine, photographs, student_file, tmp_path
):
    run(photographs, "memory://out", student_file)
    before = at(memory, "/out")
    shutil.rmtree(tmp_path / "first" / "results")
    run(photographs, "memory://out", student_file)
    assert at(memory, "/out") == before


def test_what_is_made_anew_replaces_all_of_it(memory, sent, machine, photographs, student_file, tmp_path):
    run(photographs, "memory://out", student_file)
    (photographs / "a b.jpg").unlink()
    run(photographs, "memory://out", student_file, "--overwrite")
    run(photographs, tmp_path / "here", student_file)
    assert at(memory, "/out") == contents(tmp_path / "here")


def test_a_place_that_holds_something_else_is_left_alone(memory, sent, machine, photographs, student_file, capsys):
    memory.pipe_file("/out/thesis.docx", b"years of work")
    told = fails(capsys, "run", photographs, "memory://out", "--model", student_file)
    assert "memory://out: holds thesis.docx and no summary.json" in told
    assert at(memory, "/out") == {"thesis.docx": b"years of work"}
    assert not sent


def test_a_run_that_fails_sends_nothing_and_names_the_url(
    memory, sent, machine, photographs, student_file, tmp_path, capsys
):
    run(photographs, "memory://out", student_file)
    sent.clear()
    told = fails(capsys, "run", photographs, "memory://out", "--model", student_file, "--um-per-px", "2")
    assert "memory://out: holds results made with um_per_px = None" in told
    assert not sent


def test_places_and_options_that_can_not_be_are_refused(memory, sent, machine, photographs, student_file, capsys):
    words = ["--model", student_file]
    assert "lies inside memory://raw" in fails(capsys, "run", "memory://raw", "memory://raw/out", *words)
    assert "lies inside memory://raw" in fails(capsys, "run", "memory://raw", "memory://raw", *words)
    for option in (("--shard", "1/2"), ("--engine", "ray")):
        assert "a folder that all machines write into" in fails(
            capsys, "run", photographs, "memory://o", *words, *option
        )
    assert "not taken for OUT here" in fails(capsys, "audit", photographs, "s3://bucket/audit")
    assert "not taken for RAW here" in fails(capsys, "synthesize", "s3://bucket/raw")
    assert "not taken for DATA here" in fails(capsys, "cam", "s3://bucket/data", "run")
    assert not sent


def test_prepare_sends_a_data_set_with_its_index_last(memory, sent, machine, photographs, tmp_path, caplog):
    for name, to in (("a b.jpg", "vug"), ("鲕粒/no#1.jpg", "oolite")):
        (photographs / to).mkdir()
        (photographs / name).rename(photographs / to / "1.jpg")
    options = ["--long-side-px", "32", "--workers", "1"]
    main(["prepare", str(photographs), str(tmp_path / "here"), *options])
    main(["prepare", str(photographs), "memory://data", *options])
    assert at(memory, "/data") == contents(tmp_path / "here")
    assert sent[-3:] == ["/data/prepare.json", "/data/card.json", "/data/index.csv"]
    assert "next: geocamnet train DATA RUN" in caplog.text
    for name in ("first", "second"):
        machine(name)
        sent.clear()
        main(["prepare", str(photographs), "memory://data", *options])
        assert not sent


def test_photographs_and_results_in_an_s3_that_stops_and_comes_back(
    s3, machine, photographs, student_file, tmp_path, monkeypatch, capsys
):
    import geocamnet.cli.sending as sending

    url = s3.copy(photographs, "photographs")
    out = "s3://thin-sections/results of 鲕粒"
    put, files = sending.write_to_store, []

    def stopping(where, file):
        if len(files) == 4:
            s3.stop()
        files.append(where)
        put(where, file)

    monkeypatch.setattr(sending, "write_to_store", stopping)
    told = fails(capsys, "run", url, out, "--model", student_file)
    assert "the store can't be used" in told
    s3.start()
    assert not s3.files().exists(f"{out}/summary.json")
    run(url, out, student_file)
    twice = {name for name in files if files.count(name) > 1 and name != files[4]}  # that one was cut
    assert not any("_jpg_" in name for name in twice)  # tables are written anew, pictures are not
    assert any("_jpg_" in name for name in files[:4])
    store = s3.files()
    here = tmp_path / "copy"
    store.get(out, str(here), recursive=True)
    run(url, tmp_path / "here", student_file)
    assert contents(here) == contents(tmp_path / "here")
    machine("second")
    s3.files().pipe_file("thin-sections/photographs/new.jpg", (photographs / "a b.jpg").read_bytes())
    run(url, out, student_file)
    machine("first")
    assert "was not put there by this machine" in fails(capsys, "run", url, out, "--model", student_file)
