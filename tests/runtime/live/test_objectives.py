"""Scales of objectives: measured once, kept, and refused where they do not hold."""

import json

import pytest

from geocamnet.errors import DataError
from geocamnet.runtime.live import objectives
from geocamnet.runtime.live.objectives import Objective, keep_objective, read_objectives, scale_from_line, scale_of


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOCAMNET_OBJECTIVES", str(tmp_path / "kept" / "objectives.json"))
    return tmp_path / "kept" / "objectives.json"


def test_a_line_tells_the_scale():
    assert scale_from_line((10, 10), (310, 410), 1000) == 2.0
    assert scale_from_line((310, 410), (10, 10), 1000) == 2.0


@pytest.mark.parametrize(("end", "length", "told"), [((14, 10), 100, "4 px"), ((99, 10), 0, "above 0"),
                                                     ((99, 10), float("nan"), "above 0")])  # fmt: skip
def test_a_line_that_tells_nothing_is_refused(end, length, told):
    with pytest.raises(DataError, match=told):
        scale_from_line((10, 10), end, length)


def test_what_is_kept_is_found_again_and_replaced(kept):
    assert read_objectives() == {}
    keep_objective("10x", Objective(1.5, 640, 480))
    keep_objective("40× 油镜", Objective(0.25, 640, 480))
    keep_objective("10x", Objective(1.6, 640, 480))
    assert scale_of("10x", (480, 640, 3)) == 1.6
    assert scale_of("40× 油镜", (480, 640, 3)) == 0.25
    assert list(read_objectives()) == ["10x", "40× 油镜"]
    assert [path.name for path in kept.parent.iterdir()] == ["objectives.json"]


def test_frames_of_another_size_have_another_scale():
    keep_objective("10x", Objective(1.5, 640, 480))
    with pytest.raises(DataError, match=r"640 x 480 px; these have 1280 x 960 px.*again"):
        scale_of("10x", (960, 1280, 3))


def test_an_objective_that_was_not_measured_is_told_with_those_that_were():
    with pytest.raises(DataError, match=r"'4x' \(kept: none\)"):
        scale_of("4x", (480, 640))
    keep_objective("10x", Objective(1.5, 640, 480))
    with pytest.raises(DataError, match=r"'4x' \(kept: 10x\).*micrometer"):
        scale_of("4x", (480, 640))


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"10x": 3}', '{"10x": {"um_per_px": -1, "width_px": 1, "height_px": 1}}']
)
def test_a_damaged_file_is_told_and_not_overwritten(kept, text):
    kept.parent.mkdir()
    kept.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"objectives\.json.*Correct"):
        keep_objective("10x", Objective(1.5, 640, 480))
    assert kept.read_text(encoding="utf-8") == text


def test_nonsense_is_not_kept(kept):
    with pytest.raises(DataError, match="above 0"):
        keep_objective("10x", Objective(0.0, 640, 480))
    assert not kept.exists()


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_each_system_keeps_it_where_it_keeps_such_things(platform, monkeypatch, tmp_path):
    monkeypatch.delenv("GEOCAMNET_OBJECTIVES")
    monkeypatch.setattr(objectives.sys, "platform", platform)
    for name in ("APPDATA", "XDG_CONFIG_HOME", "HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    file = objectives.objectives_file()
    assert file.is_relative_to(tmp_path)
    assert file.parts[-2:] == ("geocamnet", "objectives.json")


def test_the_file_is_json_for_people(kept):
    keep_objective("10x", Objective(1.5, 640, 480))
    assert json.loads(kept.read_text(encoding="utf-8")) == {
        "10x": {"um_per_px": 1.5, "width_px": 640, "height_px": 480}
    }
