"""Work is shared out whole and without doubles, over processes and over the jobs of an array."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawn import contents
from geocamnet.errors import DataError
from geocamnet.images import write_image
from geocamnet.runtime.folder.predict import predict_folder
from geocamnet.sharing import Shard, in_processes, read_shard


@given(st.integers(1, 40), st.lists(st.integers(), max_size=100))
def test_the_shares_of_all_jobs_are_the_work_and_nobody_does_anothers(of, work):
    places = list(range(len(work)))
    shares = [Shard(number, of).of_jobs(places) for number in range(1, of + 1)]
    assert sorted(place for share in shares for place in share) == places
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/2/3", "-1/3", "1/0", " "])
def test_what_is_no_share_is_told(text):
    with pytest.raises(DataError, match=r"I/N.*received"):
        read_shard(text)


def test_a_share_is_read():
    assert read_shard("2/8") == Shard(2, 8)
    assert str(read_shard("2/8")) == "2-of-8"
    assert read_shard("") is None


def die(number):
    os._exit(3)


def test_a_process_that_dies_is_told_in_a_sentence():
    with pytest.raises(DataError, match="process that works on photographs has died"):
        list(in_processes(die, [1, 2], workers=2))


def test_every_job_is_done_once_and_few_wait_at_a_time():
    begun = []

    class Jobs(list):
        def __iter__(self):
            for job in super().__iter__():
                begun.append(job)
                yield job

    done = in_processes(abs, Jobs(range(-100, 0)), workers=2)
    first = next(done)
    assert len(begun) < 20
    assert sorted([first, *done]) == list(range(1, 101))


# --- run -------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path, paint):
    root = tmp_path / "photographs"
    for number in range(11):
        write_image(root / f"s{number % 3}" / f"{number}.png", paint((40, 60), ("oolite", "foam", "vug")[number % 3]))
    (root / "s1" / "broken.png").write_bytes(b"no photograph")
    return root


def test_run_in_shares_ends_in_the_files_of_one_run(source, tmp_path, student):
    whole, out = tmp_path / "whole", tmp_path / "out"
    predict_folder(source, whole, student, um_per_px=2.0)
    for number in (3, 1, 2):
        report = predict_folder(source, out, student, um_per_px=2.0, shard=f"{number}/3")
        assert report.series is None
        assert len(report.rows) + len(report.skipped) == 4
        assert not (out / "predictions.csv").exists()
    report = predict_folder(source, out, student, um_per_px=2.0)
    assert len(report.rows) == 11
    assert contents(out) == contents(whole)


def test_what_a_share_has_left_undone_is_done_when_they_are_brought_together(source, tmp_path, student):
    whole, out = tmp_path / "whole", tmp_path / "out"
    predict_folder(source, whole, student)
    first = predict_folder(source, out, student, shard="1/2")
    with pytest.raises(KeyboardInterrupt):
        predict_folder(source, out, student, shard="2/2", on_progress=stop_at(3))
    done = []
    report = predict_folder(source, out, student, on_progress=lambda now, total: done.append(now))
    assert done[0] >= len(first.rows) + 2  # what either job has finished is not done again
    assert len(report.rows) == 11
    assert contents(out) == contents(whole)


def test_a_share_that_is_stopped_goes_on(source, tmp_path, student):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_folder(source, out, student, shard="1/2", on_progress=stop_at(2))
    done = []
    predict_folder(source, out, student, shard="1/2", on_progress=lambda now, total: done.append((now, total)))
    assert done[0] == (2, 6)
    assert done[-1] == (6, 6)


def test_a_share_with_other_settings_or_overwriting_is_refused(source, tmp_path, student):
    out = tmp_path / "out"
    predict_folder(source, out, student, shard="1/2")
    with pytest.raises(DataError, match="um_per_px"):
        predict_folder(source, out, student, um_per_px=1.0)
    with pytest.raises(DataError, match="can't be used with --shard"):
        predict_folder(source, out, student, shard="1/2", overwrite=True)
    predict_folder(source, out, student, um_per_px=1.0, overwrite=True)
    assert json.loads((out / "summary.json").read_text("utf-8"))["settings"]["um_per_px"] == 1.0
    assert not (out / "shards").exists()


def stop_at(count):
    def stop(done, total):
        if done >= count:
            raise KeyboardInterrupt

    return stop
