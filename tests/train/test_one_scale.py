"""Photographs of one scale (`--image-px 0`): shown as they are stored, and the model asks for that scale."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geocamnet.errors import DataError, ModelError
from geocamnet.images import read_image
from geocamnet.runtime.model import load
from geocamnet.runtime.scale import scale_to_card
from geocamnet.train import training
from geocamnet.train.augment import mirrored, scale_pixels, seen_size_hw
from geocamnet.train.cam import extract
from geocamnet.train.dataset import PhotographDataset
from geocamnet.train.evaluate import evaluate
from geocamnet.train.export import export
from geocamnet.train.index import read_index, write_index
from geocamnet.train.predictor import open_predictor
from geocamnet.train.recipes import CamRecipe
from geocamnet.train.runs import read_card
from geocamnet.train.training import distil, train
from tiny import STUDENT, TEACHER, write_data

torch.set_num_threads(1)

ONE_SCALE = {"image_px": 0, "epochs": 1}
ONLINE = replace(STUDENT, **ONE_SCALE, teacher_maps="online", classes="teacher")


def of_scale(data: Path, *um_per_px: float | None, **how: object) -> Path:
    """Write a DATA folder whose photographs have these scales in turn."""
    write_data(data, **how)  # type: ignore[arg-type]
    rows = read_index(data)
    write_index(data, [replace(row, um_per_px=um_per_px[i % len(um_per_px)]) for i, row in enumerate(rows)])
    return data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return of_scale(tmp_path_factory.mktemp("one_scale") / "data", 2.0, 2.01)


@pytest.fixture(scope="module")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("one_scale") / "teacher"
    train(data, run, replace(TEACHER, **ONE_SCALE))
    return run


# --- what is seen ----------------------------------------------------------------------------------------


def test_a_photograph_is_seen_as_it_is_stored() -> None:
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    assert scale_pixels(image, 0) is image
    assert seen_size_hw((37, 53), 0) == (37, 53)
    assert seen_size_hw((37, 53), 106) == (74, 106)


def test_a_small_photograph_is_continued_by_its_mirror_image_at_its_own_scale() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 40, 3), dtype=np.uint8)
    wide = mirrored(image, 31)
    assert wide.shape == (31, 40, 3)
    assert np.array_equal(wide[13:18], image)
    assert np.array_equal(wide[12::-1][:5], image)  # upwards of its upper edge, its rows come again
    assert np.array_equal(wide[18:23], image[::-1])
    assert mirrored(image, 5) is image


def test_a_crop_of_a_small_photograph_is_not_enlarged(data: Path) -> None:
    rows = read_index(data)[:1]
    whole = read_image(data / rows[0].image)  # 64 px
    recipe = replace(STUDENT.augment, turns=False, scale=1.0, stain=0, light=0, focus=0, noise=0, burn_in=0)
    (item,) = PhotographDataset(data, rows, classes=("oolite",), image_px=0, crop_px=100, recipe=recipe).__getitems__(
        [0]
    )
    crop = (item["image"].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    assert crop.shape == (100, 100, 3)
    assert np.array_equal(crop[18:82, 18:82], whole)


# --- what the model asks for -----------------------------------------------------------------------------


def test_the_card_has_the_scale_and_no_long_side(teacher: Path) -> None:
    card = read_card(teacher)
    assert card.long_side_px is None
    assert card.um_per_px == pytest.approx(2.0, rel=0.01)


def test_a_model_file_brings_photographs_to_its_scale(data: Path, teacher: Path, tmp_path: Path) -> None:
    run = tmp_path / "student"
    distil(data, run, ONLINE, teacher=teacher)
    export(run, tmp_path / "student.onnx", data=data)
    model = load(tmp_path / "student.onnx")
    assert (model.card.long_side_px, model.card.um_per_px) == (None, read_card(teacher).um_per_px)
    predict, card = open_predictor(run)
    image = read_image(data / read_index(data)[0].image)
    for um_per_px in (1.0, 2.0, 5.0):
        scaled = scale_to_card(image, card, um_per_px)
        assert max(scaled.shape) == round(64 * um_per_px / card.um_per_px)  # type: ignore[operator]
        np.testing.assert_allclose(model.predict(scaled).class_maps, predict(scaled)[1], atol=2e-3)
    assert evaluate(run, data, localisation=False)["n"] == 4


def test_a_teacher_looks_at_the_scale_it_knows(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    on_looker = training._on_looker

    def noting(*arguments: object) -> object:
        seen.append((one := on_looker(*arguments)).scale)  # type: ignore[arg-type]
        return one

    monkeypatch.setattr(training, "_on_looker", noting)
    coarser = of_scale(tmp_path / "coarser", 3.0)
    distil(coarser, tmp_path / "student", ONLINE, teacher=teacher)
    assert seen == [pytest.approx(1.5, rel=0.01)]  # 3 um of the student's are 1.5 pixels of the teacher's


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scales", "said"),
    [
        ((2.0, 4.0), r"from 2 to 4 um a pixel, 0 of 20 unknown.*prepare --um-per-px"),
        ((2.0, None), r"10 of 20 unknown"),
        ((None,), "of no known scale, 20 of 20 unknown"),
    ],
)
def test_photographs_of_several_or_unknown_scales_are_refused(
    tmp_path: Path, scales: tuple[float | None, ...], said: str
) -> None:
    data = of_scale(tmp_path / "data", *scales)
    with pytest.raises(DataError, match=said):
        train(data, tmp_path / "run", replace(TEACHER, **ONE_SCALE))
    assert not (tmp_path / "run").exists()


def test_teacher_and_student_of_one_scale_and_of_one_size_do_not_meet(
    data: Path, teacher: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="of one scale, and the student is to be to photographs of one size"):
        distil(data, tmp_path / "run", replace(ONLINE, image_px=64), teacher=teacher)
    of_size = tmp_path / "of_size"
    train(data, of_size, replace(TEACHER, epochs=1))
    with pytest.raises(ModelError, match="of one size, and the student is to be to photographs of one scale"):
        distil(data, tmp_path / "run", ONLINE, teacher=of_size)
    assert not (tmp_path / "run").exists()


def test_maps_of_one_scale_are_not_stored(data: Path, teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--teacher-maps online"):
        extract(data, teacher, CamRecipe())
    with pytest.raises(DataError, match="--teacher-maps online"):
        distil(data, tmp_path / "run", replace(ONLINE, teacher_maps="stored"), teacher=teacher)


def test_a_size_must_be_large_enough_or_nothing(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--image-px must be 32 or more, or 0 for one scale; received 16"):
        train(data, tmp_path / "run", replace(TEACHER, image_px=16))
