import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocamnet.card import ClassCard, ModelCard
from geocamnet.errors import DataError
from geocamnet.runtime import render
from geocamnet.runtime.render import (
    class_map_picture,
    colour_heat,
    draw_scale_bar,
    legend,
    overlay,
    round_length_um,
    side_by_side,
)

RED, BLUE = (200, 30, 30), (20, 40, 220)
CARD = ModelCard(
    name="drawn",
    classes=(ClassCard("oolite", "Oolite", RED), ClassCard("vug", "Vug", BLUE), ClassCard("own", "Own", (9, 9, 9))),
    labels="single",
    architecture="none",
    parameters=0,
    map_stride=16,
    long_side_px=320,
    um_per_px=None,
    map_scale=(1.0, 1.0, 1.0),
    class_bias=(0.0, 0.0, 0.0),
)


def photograph(height=240, width=320, seed=0):
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), dtype=np.uint8)


def even_heat(image, value):
    return np.full(image.shape[:2], value, np.float32)


def positions_of(piece, picture):
    """Every (row, column) at which a piece stands unaltered in a picture."""
    first_row = np.all(picture[: picture.shape[0] - piece.shape[0] + 1] == piece[0, 0], axis=2)
    places = zip(*np.nonzero(first_row), strict=True)
    height, width = piece.shape[:2]
    return [(r, c) for r, c in places if np.array_equal(picture[r : r + height, c : c + width], piece)]


def test_without_heat_the_photograph_shows_untouched():
    image = photograph()
    np.testing.assert_array_equal(overlay(image, even_heat(image, 0)), image)
    np.testing.assert_array_equal(overlay(image, even_heat(image, 0.7), opacity=0), image)


def test_an_overlay_is_the_stated_blend():
    image = photograph()
    heat = np.random.default_rng(1).random(image.shape[:2]).astype(np.float32)
    cover = 0.4 * heat[..., None].astype(float)
    expected = np.rint(image * (1 - cover) + cover * colour_heat(heat))
    assert np.abs(overlay(image, heat, opacity=0.4) - expected).max() <= 1
    dark = np.rint(image * (1 - 0.4 * (1 - heat[..., None].astype(float))))
    assert np.abs(overlay(image, heat, opacity=0.4, inverse=True) - dark).max() <= 1


@pytest.mark.parametrize("opacity", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("inverse", [False, True])
def test_an_overlay_is_within_a_grey_level_for_every_grey_and_heat(opacity, inverse):
    greys, heat = np.meshgrid(np.arange(256, dtype=np.uint8), np.linspace(0, 1, 301, dtype=np.float32))
    image = np.dstack([greys] * 3)
    cover = opacity * (1 - heat if inverse else heat)[..., None].astype(float)
    expected = image * (1 - cover) + cover * (0 if inverse else colour_heat(heat).astype(float))
    assert np.abs(overlay(image, heat, opacity=opacity, inverse=inverse) - expected).max() <= 0.51


def test_an_overlay_takes_views_and_heat_of_float64():
    image, heat = photograph(), np.random.default_rng(1).random((240, 320))
    expected = overlay(image[:, ::-1].copy(), heat[:, ::-1].astype(np.float32))
    np.testing.assert_array_equal(overlay(image[:, ::-1], heat[:, ::-1]), expected)


def test_heat_is_coloured_in_the_256_steps_of_its_table():
    steps = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_PLASMA)[0, :, ::-1]
    np.testing.assert_array_equal(colour_heat(steps), table[np.rint(steps * 255).astype(int)])


def test_the_inverse_leaves_the_evidence_as_photographed():
    image = photograph()
    np.testing.assert_array_equal(overlay(image, even_heat(image, 1), inverse=True), image)
    assert not overlay(image, even_heat(image, 0), inverse=True, opacity=1).any()


def test_more_heat_is_always_lighter_and_red_is_not_mistaken_for_blue():
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None]
    colours = colour_heat(ramp)
    lightness = cv2.cvtColor(colours.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0, :, 0]
    assert (np.diff(lightness) > -0.2).all()
    assert lightness[-1] > lightness[0] + 60
    assert colours[0, 0, 2] > 100 > colours[0, 0, 0]  # coldest is blue
    assert colours[0, -1, 0] > 200 > 100 > colours[0, -1, 2]  # hottest is yellow


@pytest.mark.parametrize("value", [np.nan, -0.01, 1.01])
def test_heat_outside_zero_to_one_is_not_coloured(value):
    with pytest.raises(DataError, match="0 to 1"):
        overlay(photograph(), even_heat(photograph(), value))


def test_what_does_not_fit_is_refused_with_what_was_received():
    image = photograph()
    with pytest.raises(DataError, match=r"\(5, 5\) and photograph \(240, 320\)"):
        overlay(image, np.zeros((5, 5), np.float32))
    with pytest.raises(DataError, match="float64"):
        overlay(image / 255, even_heat(image, 0))
    with pytest.raises(DataError, match="opacity must be 0 to 1; received 2"):
        overlay(image, even_heat(image, 0), opacity=2)
    with pytest.raises(DataError, match="um_per_px must be above 0; received 0"):
        draw_scale_bar(image, 0)
    with pytest.raises(DataError, match="at least one entry"):
        legend([])


@given(st.floats(1e-3, 1e6))
def test_a_scale_bar_s_length_is_round_and_the_longest_that_fits(longest):
    length = round_length_um(longest)
    assert length <= longest < 2.5 * length * (1 + 1e-9)
    mantissa = length / 10 ** np.floor(np.log10(length) + 1e-9)
    assert min(abs(mantissa - factor) for factor in (1, 2, 5)) < 1e-6


@pytest.mark.parametrize(("um_per_px", "expected_px"), [(1.0, 100), (2.6, 77), (0.13, 77), (12.0, 83)])
def test_the_drawn_bar_has_its_length_in_pixels(um_per_px, expected_px):
    image = np.zeros((300, 400, 3), np.uint8)
    drawn = draw_scale_bar(image, um_per_px)
    rows = (drawn == 255).all(axis=2).sum(axis=1)
    assert rows.max() == expected_px
    assert not image.any()  # a copy was drawn on
    assert not drawn[:200].any()
    assert not drawn[:, :200].any()


def test_a_photograph_too_small_for_a_scale_bar_is_returned_without():
    for shape in ((1, 1), (20, 3000), (3000, 20)):
        image = photograph(*shape)
        np.testing.assert_array_equal(draw_scale_bar(image, 1), image)


def test_the_micro_sign_is_drawn_even_where_no_font_has_it(monkeypatch):
    image = np.zeros((300, 400, 3), np.uint8)
    with_fonts = draw_scale_bar(image, 1)
    render._font.cache_clear()
    monkeypatch.setattr(render, "_SYSTEM_FONTS", ())
    own = render._font(13, "100 um")
    assert not render._has_letters(own, "µ")
    assert render._has_letters(own, "um")
    without = draw_scale_bar(image, 1)
    assert (without == 255).any()
    assert (with_fonts == 255).any()
    render._font.cache_clear()


def test_the_three_panels_stand_side_by_side_in_their_order():
    image = photograph()
    heat, refined = even_heat(image, 0.4), even_heat(image, 0.8)
    picture = side_by_side(image, heat, refined, title="Oolite", opacity=0.5)
    panels = (image, overlay(image, heat, opacity=0.5), overlay(image, refined, opacity=0.5))
    places = [positions_of(panel, picture) for panel in panels]
    assert [len(found) for found in places] == [1, 1, 1]
    rows, columns = zip(*(found[0] for found in places), strict=True)
    assert len(set(rows)) == 1
    assert list(columns) == sorted(columns)


def test_a_wide_photograph_has_its_panels_below_each_other():
    image = photograph(100, 400)
    places = positions_of(image, side_by_side(image, even_heat(image, 0), even_heat(image, 0), title="wide"))
    assert len(places) == 3
    assert len({column for _, column in places}) == 1


@pytest.mark.parametrize("shape", [(1, 1), (20, 3000), (3000, 20), (3000, 4000)])
def test_a_photograph_of_any_size_makes_a_picture_of_bounded_size(shape):
    image = np.full((*shape, 3), 90, np.uint8)
    heat = even_heat(image, 0.5)
    picture = side_by_side(image, heat, heat, title="any size", um_per_px=1.5)
    assert picture.dtype == np.uint8
    assert max(picture.shape[:2]) < 3 * 1600 + 300
    assert min(picture.shape[:2]) >= 200


def test_the_scale_bar_is_true_on_a_photograph_that_was_scaled_down():
    image = np.zeros((1200, 3200, 3), np.uint8)  # panels are half as large: 2 µm a pixel
    heat = even_heat(image, 0)
    with_bar, without = (side_by_side(image, heat, heat, title="x", um_per_px=scale) for scale in (1.0, None))
    white = (with_bar == 255).all(axis=2) & (without == 0).all(axis=2)
    assert white.sum(axis=1).max() == 500 / 2


@pytest.mark.parametrize("title", ["", "   ", "细晶白云岩 (62 %)", "纹层石" * 60, "a\nb\tc", "🪨 µm² —"])
def test_any_title_is_set_without_widening_the_picture(title):
    image = photograph()
    heat = even_heat(image, 0)
    picture = side_by_side(image, heat, heat, title=title)
    assert picture.shape[1] == side_by_side(image, heat, heat, title="Oolite").shape[1]


def test_a_long_title_is_broken_and_nothing_of_it_lost():
    font = render._font(20, "word")
    text = "every word of it " * 10 + "x" * 90
    lines = render._wrapped(text, font, 200)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(render._text_wh(line, font)[0] <= 200 for line in lines)


def test_a_legend_shows_every_colour_once_in_order():
    picture = legend([("Oolite", RED), ("Vug", BLUE)])
    rows = [np.nonzero((picture == colour).all(axis=2).any(axis=1))[0] for colour in (RED, BLUE)]
    assert rows[0].max() < rows[1].min()


def test_a_class_map_paints_every_class_and_names_its_area():
    mask = np.zeros((320, 400), np.uint8)
    mask[:, :100], mask[:, 100:200] = 1, 2
    picture = class_map_picture(mask, CARD)
    assert (picture[:320, :100] == RED).all()
    assert (picture[:320, 100:200] == BLUE).all()
    assert (picture[:320, 200:400] == 225).all()
    below = picture[320:]
    assert (below == RED).all(axis=2).any()
    assert not (below == (9, 9, 9)).all(axis=2).any()  # the third class is nowhere


def test_the_legend_of_a_class_map_tells_the_areas_that_it_is_given(monkeypatch):
    told = []
    monkeypatch.setattr(render, "legend", lambda entries, **how: told.extend(entries) or photograph(9, 9))
    mask = np.ones((320, 400), np.uint8)
    class_map_picture(mask, CARD, percent=(60.0, 0.0, 0.04, 30.0, 9.96))
    titles = [one.title for one in CARD.classes]
    expected = [f"{titles[0]}  60.0 %", f"{titles[2]}  0.0 %", "no class  30.0 %", "refused  10.0 %"]
    assert [text for text, _ in told] == expected
    told.clear()
    class_map_picture(mask, CARD)
    assert [text for text, _ in told] == [f"{titles[0]}  100.0 %", "no class  0.0 %"]  # nothing is refused


def test_the_legend_of_a_class_map_is_beside_an_upright_one():
    picture = class_map_picture(np.ones((400, 320), np.uint8), CARD)
    assert (picture[:400, :320] == RED).all()
    assert picture.shape[0] == 400


def test_a_class_map_on_a_photograph_leaves_the_rest_untouched():
    image = photograph(320, 400)
    mask = np.zeros((320, 400), np.uint8)
    mask[:, :100] = 1
    picture = class_map_picture(mask, CARD, image=image, opacity=1)
    np.testing.assert_array_equal(picture[:320, 100:400], image[:, 100:])
    assert (picture[:320, :100] == RED).all()


def test_a_class_map_has_pores_outlined_and_a_scale_bar():
    image = photograph(320, 400)
    mask, pores = np.ones((320, 400), np.uint8), np.zeros((320, 400), bool)
    pores[100:200, 100:200] = True
    picture = class_map_picture(mask, CARD, image=image, pores=pores)
    black = (picture[:320, :400] == 0).all(axis=2)
    assert black[100, 100:200].all()
    np.testing.assert_array_equal(picture[101:199, 101:199], image[101:199, 101:199])  # not painted
    assert (picture[320:] == 0).all(axis=2).any()  # in the legend
    without = class_map_picture(mask, CARD, image=image)
    with_bar = class_map_picture(mask, CARD, image=image, um_per_px=2.0)
    assert not np.array_equal(with_bar[220:320, 300:400], without[220:320, 300:400])


def test_a_class_map_is_as_large_as_asked_for():
    mask = np.ones((300, 3000), np.uint8)
    assert class_map_picture(mask, CARD, long_side_px=640).shape[1] == 640
    assert class_map_picture(np.ones((1, 1), np.uint8), CARD, long_side_px=640).shape[1] >= 640


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 4, 4), np.uint8), np.zeros((4, 4), np.float32), np.full((4, 4), 4, np.uint8)]
)
def test_a_class_map_of_another_model_is_refused(mask):
    with pytest.raises(DataError, match="at most 3 for card 'drawn'"):
        class_map_picture(mask, CARD)
    with pytest.raises(DataError, match="one size"):
        class_map_picture(np.zeros((4, 4), np.uint8), CARD, image=photograph(5, 4))
