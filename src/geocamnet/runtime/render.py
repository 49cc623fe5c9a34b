"""Pictures for people: heat laid on the photograph, panels side by side, legend, scale bar."""

from collections.abc import Sequence
from functools import cache, lru_cache
from math import floor, isfinite, log10
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from geocamnet.card import ModelCard
from geocamnet.errors import DataError
from geocamnet.images import RgbImage
from geocamnet.runtime.heatmap import Heatmap

MAX_PANEL_PX = 1600  # long side of a panel; larger photographs are scaled down
MIN_PANEL_PX = 320  # smaller ones are enlarged, so that what is written beside them can be read
CAPTIONS = ("Original", "CAM heatmap", "CAM + texture")

_INK_RGB = (35, 35, 35)
_PAPER_RGB = (255, 255, 255)
_NO_CLASS_RGB = (225, 225, 225)
_PORE_RGB = (0, 0, 0)  # no class is black, and dye, rock and paint are all lighter
# Pillow's own font has hardly more than ASCII. These come with Linux, Windows or macOS, the last seven with
# Chinese; Pillow finds them by name.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf", "LiberationSans-Regular.ttf", "segoeui.ttf", "Arial.ttf",
    "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "DroidSansFallbackFull.ttf",
    "msyh.ttc", "simhei.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc",
)  # fmt: skip

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_Colour = tuple[int, int, int]
_Number = TypeVar("_Number", np.uint8, np.float32)


def colour_heat(heatmap: Heatmap) -> RgbImage:
    """Colour a heatmap (H, W) in [0, 1] from blue over red to yellow: RGB uint8 (H, W, 3).

    The map is Plasma (OpenCV's table): its lightness rises evenly, so more heat looks like more, in grey
    print and to colour-blind readers too.

    Raises:
        DataError: not a float heatmap (H, W) in [0, 1].
    """
    if heatmap.ndim != 2 or heatmap.size == 0 or not (heatmap.min() >= 0 and heatmap.max() <= 1):
        raise DataError(f"A heatmap must be (H, W) in 0 to 1; received shape {heatmap.shape} of {heatmap.dtype}.")
    steps = cv2.convertScaleAbs(heatmap.astype(np.float32, copy=False), alpha=255)  # rounds half to even, as np.rint
    return np.asarray(cv2.applyColorMap(steps, _plasma_rgb()), np.uint8)


@cache
def _plasma_rgb() -> NDArray[np.uint8]:
    """Return the 256 colours of heat, RGB uint8 (256, 1, 3)."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(ramp, cv2.COLORMAP_PLASMA), cv2.COLOR_BGR2RGB), np.uint8)


def overlay(image: RgbImage, heatmap: Heatmap, *, opacity: float = 0.5, inverse: bool = False) -> RgbImage:
    """Lay a heatmap on the photograph; without heat the photograph shows untouched.

    result = image + opacity heat (colour_heat(heat) - image). ``inverse`` darkens what has no heat instead and
    leaves the evidence as photographed: result = image (1 - opacity (1 - heat)). Both to within one grey level.

    Args:
        image: RGB uint8 (H, W, 3).
        heatmap: float (H, W) in [0, 1].
        opacity: of the colour at full heat, 0 to 1.
        inverse: show the evidence clear and the rest dark.

    Raises:
        DataError: sizes that differ, or values outside their ranges.
    """
    _check_pair(image, heatmap)
    if not 0 <= opacity <= 1:
        raise DataError(f"opacity must be 0 to 1; received {opacity}.")
    heat = heatmap.astype(np.float32, copy=False)
    if inverse:
        colour, cover = np.zeros_like(image), np.float32(opacity) * (1 - heat)
    else:
        colour, cover = colour_heat(heat), np.float32(opacity) * heat  # (H, W, 3) and (H, W)
    # In one pass: numpy takes five, each through memory. It divides by the sum of the weights, which is 1.
    return np.asarray(cv2.blendLinear(np.ascontiguousarray(image), colour, 1 - cover, cover), np.uint8)


def draw_scale_bar(image: RgbImage, um_per_px: float) -> RgbImage:
    """Draw a scale bar into the lower right corner of a copy of the photograph.

    Its length is the longest of 1, 2 or 5 times a power of ten micrometres within a quarter of the width; it is
    labelled in µm, from 1000 µm in mm. A photograph too small to hold bar and label is returned without.

    Args:
        image: RGB uint8 (H, W, 3).
        um_per_px: micrometres per pixel, above 0.

    Raises:
        DataError: not such an image, or a scale that is not above 0.
    """
    _check_image(image)
    if not (isfinite(um_per_px) and um_per_px > 0):
        raise DataError(f"um_per_px must be above 0; received {um_per_px}.")
    height, width = image.shape[:2]
    length_um = round_length_um(width / 4 * um_per_px)
    label = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    font_px = max(11, min(height, width) // 22)
    font = _font(font_px, label)
    if not _has_letters(font, label):
        label = label.replace("µ", "u")
    bar_px, (text_px, line_px) = round(length_um / um_per_px), _text_wh(label, font)
    margin, thick = font_px // 2, max(2, font_px // 5)
    box_wh = (max(bar_px, text_px) + 2 * margin, line_px + thick + 2 * margin)
    if box_wh[0] + margin > width or box_wh[1] + margin > height:
        return image.copy()
    picture = Image.fromarray(image)
    left, top = width - margin - box_wh[0], height - margin - box_wh[1]
    box = (left, top, left + box_wh[0], top + box_wh[1])
    backing = Image.blend(picture.crop(box), Image.new("RGB", box_wh, (0, 0, 0)), 0.65)
    picture.paste(backing, box)
    draw, centre = ImageDraw.Draw(picture), left + box_wh[0] / 2
    draw.text((centre, top + margin * 0.7), label, fill=_PAPER_RGB, font=font, anchor="ma")
    start, bottom = round(centre - bar_px / 2), box[3] - margin
    draw.rectangle((start, bottom - thick + 1, start + bar_px - 1, bottom), fill=_PAPER_RGB)
    return np.array(picture)


def round_length_um(longest_um: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is not above ``longest_um`` (above 0)."""
    power = 10.0 ** floor(log10(longest_um))
    return max(factor * power for factor in (0.5, 1, 2, 5) if factor * power <= longest_um)


def legend(entries: Sequence[tuple[str, _Colour]], *, font_px: int = 16) -> RgbImage:
    """Return a column of colour patches, each with its name to the right, dark on white.

    Args:
        entries: (name, colour_rgb 0 to 255), from top to bottom.
        font_px: height of the letters.

    Raises:
        DataError: no entries.
    """
    if not entries:
        raise DataError("A legend needs at least one entry; received none.")
    fonts = [_font(font_px, name) for name, _ in entries]
    step, gap = round(font_px * 1.6), font_px // 2
    widest = max(_text_wh(name, font)[0] for (name, _), font in zip(entries, fonts, strict=True))
    picture = Image.new("RGB", (3 * gap + 2 * font_px + widest, 2 * gap + step * len(entries)), _PAPER_RGB)
    draw = ImageDraw.Draw(picture)
    for row, ((name, colour), font) in enumerate(zip(entries, fonts, strict=True)):
        middle = gap + step * row + step / 2
        patch = (gap, middle - font_px / 2, gap + 1.5 * font_px, middle + font_px / 2)
        draw.rectangle(patch, fill=colour, outline=_INK_RGB)
        draw.text((2 * gap + 1.5 * font_px, middle), name, fill=_INK_RGB, font=font, anchor="lm")
    return np.array(picture)


def side_by_side(
    image: RgbImage,
    heatmap: Heatmap,
    enhanced: Heatmap,
    *,
    title: str,
    um_per_px: float | None = None,
    opacity: float = 0.7,
) -> RgbImage:
    """Set the photograph, its heatmap and the heatmap refined by texture beside each other, with a colour bar.

    Panels are scaled so that their long side has 320 to 1600 pixels. Photographs more than two and a half
    times as wide as high are set below each other. The colour bar shows the colours as they look on mid-grey.

    Args:
        image: RGB uint8 (H, W, 3).
        heatmap: float (H, W) in [0, 1].
        enhanced: float (H, W) in [0, 1].
        title: written above; broken into lines where it is too long, in Chinese where the system has a font.
        um_per_px: scale of the photograph as given; None leaves the scale bar out.
        opacity: of the colour at full heat.

    Returns:
        RGB uint8 picture.

    Raises:
        DataError: sizes that differ, or values outside their ranges.
    """
    _check_pair(image, heatmap)
    _check_pair(image, enhanced)
    size_wh = _panel_wh(image)
    photograph = _scaled(image, size_wh)
    heats = [np.clip(_scaled(heat.astype(np.float32), size_wh), 0, 1) for heat in (heatmap, enhanced)]
    first = photograph
    if um_per_px is not None:
        first = draw_scale_bar(photograph, um_per_px * image.shape[1] / size_wh[0])
    panels = [first, *(overlay(photograph, heat, opacity=opacity) for heat in heats)]
    font_px = _font_px(size_wh)
    bar = _colour_bar(font_px, opacity)
    one_below_the_other = size_wh[0] > 2.5 * size_wh[1]
    cells = [_captioned(panel, caption, font_px) for panel, caption in zip(panels, CAPTIONS, strict=True)]
    return _sheet(title, cells, bar, font_px, as_column=one_below_the_other)


def class_map_picture(
    mask: NDArray[np.uint8],
    card: ModelCard,
    *,
    image: RgbImage | None = None,
    opacity: float = 0.6,
    um_per_px: float | None = None,
    pores: NDArray[np.bool_] | None = None,
    long_side_px: int | None = None,
    percent: Sequence[float] | None = None,
) -> RgbImage:
    """Paint every pixel in the colour of its class, with a legend of the classes and their areas.

    Args:
        mask: uint8 (H, W), 0 for no class, v for the card's v-th class (`areas.class_mask`).
        card: of the model; gives titles and colours.
        image: RGB uint8 (H, W, 3) to paint on; None paints on light grey.
        opacity: of the paint on a photograph, 0 to 1.
        um_per_px: scale of the photograph as given; None leaves the scale bar out.
        pores: bool (H, W), left unpainted, outlined in black and named in the legend; None leaves them out.
        long_side_px: of the painted part; None takes the mask's own, but 320 to 1600.
        percent: (C + 2,) areas for the legend: of every class, of no class, refused. None counts the mask's pixels, of
            which none is refused.

    Returns:
        RGB uint8 picture; the legend is below the painted part, beside it where that stands upright.

    Raises:
        DataError: a mask that doesn't fit the card or the image, or values outside their ranges.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8 or mask.size == 0 or mask.max() > len(card.classes):
        raise DataError(
            f"A class mask must be uint8 (H, W) of at most {len(card.classes)} for card '{card.name}'; "
            f"received {mask.dtype} of shape {mask.shape}" + (f", to {mask.max()}." if mask.size else ".")
        )
    if image is not None:
        _check_image(image)
    for name, other in (("image", image), ("pores", pores)):
        if other is not None and other.shape[:2] != mask.shape:
            raise DataError(f"mask {mask.shape} and {name} {other.shape[:2]} must have one size (H, W).")
    if not 0 <= opacity <= 1:
        raise DataError(f"opacity must be 0 to 1; received {opacity}.")
    if percent is None:
        counted = 100 * np.bincount(mask.ravel(), minlength=len(card.classes) + 1) / mask.size
        percent = [*counted[1:], counted[0], 0.0]
    *of_classes, of_none, refused = percent
    size_wh = _panel_wh(mask, long_side_px)
    if pores is not None:
        pores_percent, pores = 100 * pores.mean(), _shrunk(pores, size_wh)
    small = cv2.resize(mask, size_wh, interpolation=cv2.INTER_NEAREST)
    painted = np.array([_NO_CLASS_RGB, *(one.colour_rgb for one in card.classes)], np.uint8)[small]
    if image is not None:
        below = _scaled(image, size_wh)
        mixed = np.rint(below + np.float32(opacity) * (painted.astype(np.float32) - below)).astype(np.uint8)
        painted = np.where((small > 0 if pores is None else (small > 0) & ~pores)[..., None], mixed, below)
    entries = [
        (f"{one.title}  {share:.1f} %", one.colour_rgb)
        for one, share in sorted(zip(card.classes, of_classes, strict=True), key=lambda pair: -pair[1])
        if share > 0
    ]
    unpainted = "" if image is None else " (photograph)"
    entries.append((f"no class{unpainted}  {of_none:.1f} %", _NO_CLASS_RGB))
    if refused > 0:
        entries.append((f"refused{unpainted}  {refused:.1f} %", _NO_CLASS_RGB))
    if pores is not None:
        outlines, _ = cv2.findContours(pores.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(painted, outlines, -1, _PORE_RGB, 1)
        entries.append((f"pores (blue dye), outlined  {pores_percent:.1f} %", _PORE_RGB))
    if um_per_px is not None:
        painted = draw_scale_bar(painted, um_per_px * mask.shape[1] / size_wh[0])
    font_px = min(max(14, max(size_wh) // 25), 40)  # read on a phone, where the picture is small
    return _stacked([painted, legend(entries, font_px=font_px)], gap=font_px, as_column=size_wh[0] >= size_wh[1])


def _shrunk(pores: NDArray[np.bool_], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    return cv2.resize(pores.astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST) > 0


def _check_image(image: RgbImage) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise DataError(f"An image must be RGB uint8 (H, W, 3); received {image.dtype} of shape {image.shape}.")


def _check_pair(image: RgbImage, heatmap: Heatmap) -> None:
    _check_image(image)
    if heatmap.shape != image.shape[:2]:
        raise DataError(
            f"Heatmap {heatmap.shape} and photograph {image.shape[:2]} must have one size (H, W). "
            "Use resize_heatmap first."
        )


def _panel_wh(image: NDArray[np.uint8], long_side_px: int | None = None) -> tuple[int, int]:
    height, width = image.shape[:2]
    long_side = max(height, width)
    scale = (long_side_px or min(max(long_side, MIN_PANEL_PX), MAX_PANEL_PX)) / long_side
    return max(1, round(width * scale)), max(1, round(height * scale))


def _scaled(values: NDArray[_Number], size_wh: tuple[int, int]) -> NDArray[_Number]:
    shrinks = size_wh[0] <= values.shape[1]
    return cv2.resize(values, size_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST)


def _font_px(size_wh: tuple[int, int]) -> int:
    return min(max(14, max(size_wh) // 32), 40)


@lru_cache(maxsize=256)
def _font(font_px: int, text: str) -> _Font:
    """Return the first font that has every letter of the text, else Pillow's own, which shows boxes for some."""
    own = ImageFont.load_default(font_px)
    if _has_letters(own, text):
        return own
    for name in _SYSTEM_FONTS:
        try:
            font = ImageFont.truetype(name, font_px)
        except OSError:
            continue  # not on this system
        if _has_letters(font, text):
            return font
    return own


def _has_letters(font: _Font, text: str) -> bool:
    missing = bytes(font.getmask("\uffff"))  # no font has this letter: what it shows instead
    return not any(bytes(font.getmask(letter)) == missing for letter in set(text) if not letter.isspace())


def _text_wh(text: str, font: _Font) -> tuple[int, int]:
    left, top, right, bottom = font.getbbox(text)
    return round(right - min(0, left)), round(bottom - min(0, top))


def _wrapped(text: str, font: _Font, width_px: int) -> list[str]:
    """Break a text into lines that fit, between words, or within a word that alone is too long."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and _text_wh(f"{line} {word}", font)[0] <= width_px:
            line = f"{line} {word}"
            continue
        lines += [line] if line else []
        line = ""
        for letter in word:
            if line and _text_wh(line + letter, font)[0] > width_px:
                lines.append(line)
                line = ""
            line += letter
    return [*lines, line] if line else lines


def _captioned(panel: RgbImage, caption: str, font_px: int) -> RgbImage:
    font = _font(font_px, caption)
    width = max(panel.shape[1], _text_wh(caption, font)[0] + 2)
    top = round(font_px * 1.5)
    picture = Image.new("RGB", (width, top + panel.shape[0]), _PAPER_RGB)
    ImageDraw.Draw(picture).text((width / 2, top * 0.45), caption, fill=_INK_RGB, font=font, anchor="mm")
    picture.paste(Image.fromarray(panel), ((width - panel.shape[1]) // 2, top))
    return np.array(picture)


def _colour_bar(font_px: int, opacity: float) -> RgbImage:
    """Return the colours of heat 0 to 1 as an overlay shows them on mid-grey, with their numbers."""
    ramp = np.tile(np.linspace(0, 1, 12 * font_px, dtype=np.float32), (font_px, 1))
    bar = Image.fromarray(overlay(np.full((*ramp.shape, 3), 128, np.uint8), ramp, opacity=opacity))
    font = _font(font_px, "evidence")
    word_px, side = _text_wh("evidence", font)[0] + font_px, font_px
    picture = Image.new("RGB", (word_px + bar.width + 2 * side, round(font_px * 2.6)), _PAPER_RGB)
    draw = ImageDraw.Draw(picture)
    picture.paste(bar, (word_px, 2))
    draw.rectangle((word_px, 2, word_px + bar.width - 1, 1 + font_px), outline=_INK_RGB)
    draw.text((0, 2 + font_px / 2), "evidence", fill=_INK_RGB, font=font, anchor="lm")
    for value in (0, 0.5, 1):
        at = word_px + value * (bar.width - 1)
        draw.text((at, 2 + font_px * 1.25), f"{value:g}", fill=_INK_RGB, font=font, anchor="ma")
    return np.array(picture)


def _sheet(title: str, cells: Sequence[RgbImage], foot: RgbImage, font_px: int, *, as_column: bool) -> RgbImage:
    """Set a title above the cells and a foot below them, on white with a margin."""
    body = _stacked([_stacked(cells, gap=font_px, as_column=as_column), foot], gap=font_px, as_column=True)
    title_px = round(font_px * 1.3)
    font = _font(title_px, title)
    lines = _wrapped(title, font, body.shape[1])
    step = round(title_px * 1.4)
    top = font_px + step * len(lines) + (font_px // 2 if lines else 0)
    picture = Image.new("RGB", (body.shape[1] + 2 * font_px, top + body.shape[0] + font_px), _PAPER_RGB)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((font_px, font_px + step * number), line, fill=_INK_RGB, font=font, anchor="la")
    picture.paste(Image.fromarray(body), (font_px, top))
    return np.array(picture)


def _stacked(pictures: Sequence[RgbImage], *, gap: int, as_column: bool) -> RgbImage:
    """Set pictures below each other or beside each other, at the left or upper edge, on white."""
    heights, widths = zip(*(picture.shape[:2] for picture in pictures), strict=True)
    gaps = gap * (len(pictures) - 1)
    shape_hw = (sum(heights) + gaps, max(widths)) if as_column else (max(heights), sum(widths) + gaps)
    sheet = np.full((*shape_hw, 3), _PAPER_RGB, np.uint8)
    at = 0
    for picture in pictures:
        height, width = picture.shape[:2]
        if as_column:
            sheet[at : at + height, :width] = picture
        else:
            sheet[:height, at : at + width] = picture
        at += gap + (height if as_column else width)
    return sheet
