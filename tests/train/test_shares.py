"""Prepare and cam in shares: what the jobs of an array leave, brought together, is what one run leaves."""

from dataclasses import replace

import pytest

from drawn import contents, fill
from geocamnet.errors import DataError
from geocamnet.train.cam import StoredMaps, extract
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import CamRecipe, PrepareRecipe

RECIPE = PrepareRecipe(long_side_px=60, workers=1)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = fill(tmp_path_factory.mktemp("shares") / "raw", each=5)
    (folder / "vug" / "broken.png").write_bytes(b"no photograph")
    return folder


@pytest.fixture(scope="module")
def whole(raw):
    prepare(raw, raw.parent / "whole", RECIPE)
    return contents(raw.parent / "whole")


def test_prepare_in_shares_ends_in_the_files_of_one_run(raw, whole, tmp_path):
    for number in (2, 3, 1):
        report = prepare(raw, tmp_path / "data", replace(RECIPE, shard=f"{number}/3"))
        assert report.shard == f"{number}-of-3"
        assert report.photographs + len(report.skipped) in (5, 6)
        assert not (tmp_path / "data" / "index.csv").exists()
    done = []
    prepare(raw, tmp_path / "data", RECIPE, on_progress=lambda now, total: done.append((now, total)))
    assert done == [(16, 16)]  # nothing is decoded again
    assert contents(tmp_path / "data") == whole
    assert prepare(raw, tmp_path / "data", replace(RECIPE, shard="1/3")).already_prepared


def test_what_a_share_of_prepare_has_left_undone_is_done_in_the_end(raw, whole, tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    prepare(raw, tmp_path / "data", replace(RECIPE, shard="1/2"))
    with pytest.raises(KeyboardInterrupt):
        prepare(raw, tmp_path / "data", replace(RECIPE, shard="2/2"), on_progress=stop)
    done = []
    prepare(raw, tmp_path / "data", RECIPE, on_progress=lambda now, total: done.append(now))
    assert done == list(range(10, 17))
    assert contents(tmp_path / "data") == whole


def test_a_share_of_prepare_goes_on_and_refuses_another_recipe_and_overwriting(raw, tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(raw, tmp_path / "data", replace(RECIPE, shard="1/2"), on_progress=stop)
    with pytest.raises(DataError, match="another recipe"):
        prepare(raw, tmp_path / "data", replace(RECIPE, shard="1/2", long_side_px=50))
    with pytest.raises(DataError, match="another recipe"):
        prepare(raw, tmp_path / "data", replace(RECIPE, long_side_px=50))
    with pytest.raises(DataError, match="can't be used with --shard"):
        prepare(raw, tmp_path / "data", replace(RECIPE, shard="1/2"), overwrite=True)
    done = []
    prepare(raw, tmp_path / "data", replace(RECIPE, shard="1/2"), on_progress=lambda now, total: done.append(now))
    assert done == list(range(2, 9))
    prepare(raw, tmp_path / "data", replace(RECIPE, long_side_px=50), overwrite=True)
    assert not list((tmp_path / "data").glob("prepare.partial*"))


def test_cam_in_shares_ends_in_the_files_of_one_run(tiny_data, make_run, tmp_path):
    recipe = CamRecipe(part=5)
    one = extract(tiny_data, make_run(tmp_path / "one"), recipe)
    run = make_run(tmp_path / "shared")
    for number in (2, 1):
        folder = extract(tiny_data, run, replace(recipe, shard=f"{number}/2"))
        with pytest.raises(DataError, match="no stored maps"):
            StoredMaps(folder)
    done = []
    extract(tiny_data, run, recipe, on_progress=lambda now, total: done.append(now == total))
    assert done == [True]
    assert contents(folder) == contents(one)
    with pytest.raises(DataError, match="maps of other settings"):
        extract(tiny_data, run, replace(recipe, part=7, shard="1/2"))
    with pytest.raises(DataError, match="can't be used with --shard"):
        extract(tiny_data, run, replace(recipe, shard="1/2"), overwrite=True)
