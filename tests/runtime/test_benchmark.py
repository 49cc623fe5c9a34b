"""What is measured is told for every file, thread count and size; what is kept is what was fastest."""

import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from geocamnet.errors import DataError, ModelError
from geocamnet.runtime import benchmark as file
from geocamnet.runtime import kept
from geocamnet.runtime.benchmark import (
    CPU,
    STAGES,
    Benchmark,
    Timing,
    benchmark,
    in_words,
    keep_fastest,
    peak_memory_mb,
)
from geocamnet.runtime.model import load

RECORD = {"same_name": 1.0, "balanced_accuracy": {"fp32": 0.91, "int8": 0.905}}


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path, monkeypatch):
    monkeypatch.setenv(kept.FOLDER_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def pair(tmp_path, tiny_card, make_student):
    full = make_student(tmp_path / "name.onnx", tiny_card)
    small = make_student(tmp_path / "name.int8.onnx", replace(tiny_card, precision="int8", quantisation=RECORD))
    return full, small


def timing(model, precision, threads, network_ms, *, size_wh=(64, 48), resize=True):
    one = Timing(model, precision, CPU, threads, size_wh)
    one.ms = {stage: [1.0] * 5 for stage in STAGES}
    one.ms["network"] = [float(network_ms)] * 5
    if not resize:
        one.ms["resize"] = []
    return one


def measured(pair, full_ms, small_ms, **more):
    lines = [timing(pair[0], "fp32", 1, full_ms), timing(pair[0], "fp32", 2, full_ms + 1)]
    lines += [timing(pair[1], "int8", 1, small_ms + 1), timing(pair[1], "int8", 2, small_ms)]
    return Benchmark(tuple(lines), 5, 100.0, **more)


def test_every_stage_of_every_configuration_is_measured(pair):
    told = []
    before = cv2.getNumThreads()
    found = benchmark(
        pair,
        sizes_wh=[(96, 64), (64, 48)],
        threads=[1, 2],
        repeats=3,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert cv2.getNumThreads() == before
    assert told[-1] == (6, 6)  # three to warm up
    assert found.repeats == 3
    assert not found.stopped
    asked = {(one.model.name, one.precision, one.threads, one.size_wh) for one in found.timings}
    assert len(asked) == len(found.timings) == 8
    assert ("name.int8.onnx", "int8", 2, (64, 48)) in asked
    for one in found.timings:
        assert set(one.ms) == set(STAGES)
        for stage, values in one.ms.items():
            # The network's own size is 64 px: a frame of that size is not scaled.
            assert len(values) == (0 if stage == "resize" and one.size_wh == (64, 48) else 3)
            assert all(value >= 0 for value in values)
        assert one.median("frame") >= one.median("network") > 0
        assert one.p95("frame") >= one.median("frame")
    written = json.loads(json.dumps(found.as_json()))
    assert written["timings"][0]["size_px"] == [96, 64]
    assert set(written["timings"][0]["stages"]) == {*STAGES, "frame"}
    assert "resize" not in written["timings"][-1]["stages"]


def test_medians_and_percentiles_are_those_of_the_repeats():
    one = Timing(file.Path("m.onnx"), "fp32", CPU, 1, (8, 8))
    assert math.isnan(one.median("network"))
    one.ms = {stage: [] for stage in STAGES}
    one.ms["network"], one.ms["render"] = [1, 2, 3, 4, 100], [1, 1, 1, 1, 1]
    assert one.median("network") == 3
    assert one.median("frame") == 4
    assert one.p95("network") == pytest.approx(np.percentile([1, 2, 3, 4, 100], 95))


def test_the_bundled_student_is_measured_where_none_is_named(monkeypatch, student_file):
    monkeypatch.setattr(file, "bundled_student", lambda: student_file)
    found = benchmark(sizes_wh=[(32, 32)], threads=[1], repeats=1)
    assert [one.model for one in found.timings] == [student_file]


def test_stopping_leaves_whole_repeats(pair):
    def stop(done, total):
        if done == file.WARM_UP + 2:
            raise KeyboardInterrupt

    found = benchmark(pair, sizes_wh=[(32, 32)], threads=[1], repeats=50, on_progress=stop)
    assert found.stopped
    assert found.repeats == 2
    assert {len(one.ms["network"]) for one in found.timings} == {2}
    assert "Stopped after 2 repeats." in in_words(found)


def test_stopping_before_there_is_anything_stops(pair):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benchmark(pair, sizes_wh=[(32, 32)], threads=[1], repeats=5, on_progress=stop)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"repeats": 0}, "at least 1; received 0"),
        ({"threads": [0, 2]}, r"at least 1; received 40 and \[0, 2\]"),
        ({"sizes_wh": [(8, 400)]}, r"at least 16 px.*\(8, 400\)"),
        ({"sizes_wh": []}, "at least 16 px"),
    ],
)
def test_what_can_not_be_measured_is_refused(pair, options, said):
    with pytest.raises(DataError, match=said):
        benchmark(pair, **options)


def test_words_say_which_is_faster_and_by_how_much(pair):
    said = in_words(measured(pair, full_ms=9, small_ms=4))
    # 9 + 1 ms with one thread against 4 + 1 ms with two
    assert said[0] == (
        "name.int8.onnx (int8, 2 threads) is 2.00 times as fast as name.onnx (fp32, 1 thread) on this machine "
        "(resize and network)."
    )
    assert "equally fast" in in_words(measured(pair, full_ms=4, small_ms=4))[0]


def test_unknown_memory_and_unsteady_times_are_said(pair):
    steady = measured(pair, 4, 4)
    assert not steady.unsteady
    assert "100 MB" in " ".join(in_words(steady))
    steady.timings[0].ms["texture"][-1] = 500
    said = " ".join(in_words(Benchmark(steady.timings, 5, None)))
    assert "unknown" in said
    assert "something else is running" in said


def test_the_faster_precision_is_kept_with_its_threads(pair):
    full, small = pair
    said = keep_fastest(measured(pair, full_ms=9, small_ms=4))
    assert "opens name.int8.onnx (int8) with 2 threads" in said
    assert "also where name.onnx is named" in said
    for path in pair:
        assert kept.choice_for(load(path).sha256) == kept.Choice("name.int8.onnx", load(small).sha256, 2)
    assert load(full, fastest=True).path == small


def test_32_bits_are_kept_unless_8_save_more_than_a_twentieth(pair):
    keep_fastest(measured(pair, full_ms=9, small_ms=8.8))
    assert kept.choice_for(load(pair[1]).sha256) == kept.Choice("name.onnx", load(pair[0]).sha256, 1)


def test_frames_that_are_not_scaled_count_with_the_network_alone(pair):
    lines = (timing(pair[0], "fp32", 1, 8, resize=False), timing(pair[1], "int8", 1, 2, resize=False))
    found = Benchmark(lines, 5, None)
    assert found.ratio(lines[1], lines[0]) == pytest.approx(4)


def test_a_file_that_loses_more_than_a_point_is_not_kept(tmp_path, tiny_card, make_student, pair):
    record = {"same_name": 0.9, "balanced_accuracy": {"fp32": 0.91, "int8": 0.8}}
    make_student(pair[1], replace(tiny_card, precision="int8", quantisation=record))
    with pytest.raises(ModelError, match=r"name\.int8\.onnx is not kept in place of name\.onnx.*more than a point"):
        keep_fastest(measured(pair, full_ms=9, small_ms=4))
    assert not kept.choices_file().exists()


def test_files_of_other_networks_or_folders_are_not_kept(tmp_path, tiny_card, make_student, pair):
    make_student(pair[1], replace(tiny_card, precision="int8", quantisation=RECORD, temperature=3.0))
    with pytest.raises(ModelError, match="temperature differs"):
        keep_fastest(measured(pair, full_ms=9, small_ms=4))
    (tmp_path / "other").mkdir()
    elsewhere = make_student(tmp_path / "other" / "name.onnx", tiny_card)
    with pytest.raises(ModelError, match="in one folder"):
        keep_fastest(measured((pair[0], elsewhere), full_ms=9, small_ms=4))


def test_what_no_command_computes_with_is_not_kept(pair):
    one = timing(pair[0], "fp32", 1, 5)
    one.provider = "CUDAExecutionProvider"
    with pytest.raises(ModelError, match="CPUExecutionProvider"):
        keep_fastest(Benchmark((one,), 5, None))


def test_peak_memory_is_at_least_what_is_held_now():
    psutil = pytest.importorskip("psutil", reason="asks the system in another way")
    held_mb = psutil.Process().memory_info().rss / 1e6
    most_mb = peak_memory_mb()
    assert most_mb is not None
    assert 0.95 * held_mb <= most_mb < 100 * held_mb
