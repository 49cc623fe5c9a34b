"""Porosity by blue dye: drawn pores of known area, and everything that looks like none."""

import numpy as np
import pytest

from geocamnet.errors import DataError
from geocamnet.images import read_image, write_image
from geocamnet.runtime.porosity import Dye, DyeColour, dye_mask, measure_dye

ROCK, DYE = (205, 190, 165), (70, 130, 200)  # sandy white, the blue of dyed epoxy
SHAPE = (200, 300)


def rock(colour=ROCK, *, noise=4.0, shape=SHAPE):
    grain = np.random.default_rng(0).normal(0, noise, (*shape, 3))
    return np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8)


def with_pores(pores, image=None, colour=DYE):
    image = rock() if image is None else image
    return np.where(pores[..., None], rock(colour, shape=pores.shape), image)


def disc(radius_px, shape=SHAPE):
    y, x = np.indices(shape)
    return (y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2 < radius_px**2


@pytest.mark.parametrize("radius_px", [10, 30, 80])
def test_the_area_of_drawn_pores_is_found(radius_px):
    pores = disc(radius_px)
    dye, mask = measure_dye(with_pores(pores))
    assert dye is Dye.VISIBLE
    assert mask.sum() == pytest.approx(pores.sum(), rel=0.02)
    assert (mask & pores).sum() / (mask | pores).sum() > 0.97


def test_the_area_is_found_in_a_jpeg_as_cameras_write_it(tmp_path):
    pores = disc(40)
    write_image(tmp_path / "a.jpg", with_pores(pores), quality=85)
    mask = dye_mask(read_image(tmp_path / "a.jpg"))
    assert mask.sum() == pytest.approx(pores.sum(), rel=0.05)


def test_a_photograph_of_dye_alone_is_all_pore_and_every_size_is_taken():
    assert dye_mask(rock(DYE)).all()
    for shape in ((1, 1), (1, 50), (2, 2), (1300, 3)):
        assert dye_mask(np.full((*shape, 3), DYE, np.uint8)).all()
        assert not dye_mask(np.full((*shape, 3), ROCK, np.uint8)).any()


def test_rows_are_the_same_whatever_strip_they_are_in():
    image = rock(shape=(1100, 40))
    image[505:520] = DYE
    mask = dye_mask(image)
    assert mask[505:520].all()
    assert mask.sum() == 15 * 40


def test_single_pixels_are_noise_and_straight_edges_stay():
    pores = np.zeros(SHAPE, bool)
    pores[:, :100] = True
    pores[50, 200] = True
    mask = dye_mask(with_pores(pores, rock(noise=0)))
    assert not mask[:, 101:].any()
    np.testing.assert_array_equal(mask[:, :100], True)


def test_a_grey_photograph_is_not_measured():
    grey = np.repeat(rock()[..., :1], 3, axis=2)
    for image in (grey, np.zeros((5, 5, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)):
        dye, mask = measure_dye(image)
        assert dye is Dye.GREY
        assert not mask.any()


def test_rock_without_dye_is_not_called_tight():
    dye, mask = measure_dye(rock())
    assert dye is Dye.NOT_VISIBLE
    assert not mask.any()


@pytest.mark.parametrize(
    "colour",
    [
        (235, 240, 250),  # white under a lamp a little too cool
        (190, 120, 130),  # calcite stained with Alizarin Red S
        (150, 110, 160),  # ferroan calcite, mauve under both stains
        (160, 200, 195),  # ferroan dolomite, turquoise under potassium ferricyanide
        (20, 20, 24),  # opaque
        (90, 120, 70),  # glauconite
    ],
)
def test_other_colours_of_thin_sections_are_no_dye(colour):
    assert not dye_mask(rock(colour, noise=0)).any()


def test_only_plane_polarised_light_is_measured():
    image = with_pores(disc(30))
    assert measure_dye(image, light="PPL")[0] is Dye.VISIBLE
    for light in ("XPL", "R"):
        dye, mask = measure_dye(image, light=light)
        assert dye is Dye.NOT_PLANE
        assert not mask.any()


def test_limits_may_be_others():
    pale = rock((200, 215, 232), noise=0)
    assert not dye_mask(pale).any()
    assert dye_mask(pale, DyeColour(chroma=6)).all()
    assert measure_dye(with_pores(disc(10)), colour=DyeColour(share=0.5))[0] is Dye.NOT_VISIBLE


def test_what_is_no_photograph_is_refused():
    with pytest.raises(DataError, match="RGB uint8"):
        dye_mask(np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match="RGB uint8"):
        measure_dye(np.zeros((4, 4, 3), np.float32))
