"""From transmitted light to a photograph: focus, exposure, tone, noise, the burnt-in scale bar and frame."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from geocamnet.train.synthetic.patterns import Map, Rng, coordinates
from geocamnet.train.synthetic.slide import Slide

_BAR_LENGTHS_UM = (50, 100, 200, 250, 500, 1000, 2000)


def expose(slide: Slide, rng: Rng, light: NDArray[np.float32], *, size_px: int, crossed: bool) -> NDArray[np.uint8]:
    """Return the photograph a camera takes of transmitted light.

    Args:
        slide: whose lamp and camera.
        rng: of the sensor noise.
        light: float32 (3, H, W), 0 to 1, at the working resolution.
        size_px: side of the photograph; light is averaged down to it.
        crossed: XPL, exposed longer than PPL.

    Returns:
        RGB uint8 (size_px, size_px, 3).
    """
    picture = cv2.merge([light[channel] for channel in range(3)])
    drawn_px = light.shape[1]
    focus_px = slide.focus_px * drawn_px / 512
    if focus_px > 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), focus_px)
    if drawn_px != size_px:
        picture = cv2.resize(picture, (size_px, size_px), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    level = slide.xpl_level if crossed else slide.ppl_level
    mean = float(grey.mean())
    usual = 0.22 if crossed else 0.55
    gain = level / max(mean**slide.follow * usual ** (1 - slide.follow), 0.04)
    highest = 0.99 / max(float(np.percentile(grey[::4, ::4], 97)), 0.02)  # the camera avoids burnt-out whites
    gain = min(gain, 1.12 * highest)
    lamp = np.array(slide.lamp_rgb, np.float32) * np.float32(gain)
    x, y = coordinates(size_px)
    across = (x / size_px - np.float32(slide.middle[0])) ** 2 + (y / size_px - np.float32(slide.middle[1])) ** 2
    shade = 1 - np.float32(slide.vignette * 1.6) * across
    picture *= cv2.merge([shade * lamp[channel] for channel in range(3)])
    np.clip(picture, 0, 1.6, out=picture)
    cv2.pow(picture, 1 / (1.25 * slide.gamma) if crossed else 1 / slide.gamma, picture)
    pivot = np.float32(0.5 if not crossed else 0.35)
    picture = (picture - pivot) * np.float32(slide.contrast) + pivot
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    grey3 = cv2.merge([grey, grey, grey])
    picture = cv2.addWeighted(picture, slide.saturation, grey3, 1 - slide.saturation, 0)
    picture *= 255
    # one field of normal values serves three channels: shared grain, and colour grain by shifted copies
    grain = rng.standard_normal((size_px, size_px), dtype=np.float32) * np.float32(slide.grain)
    picture += cv2.merge(
        [grain, 0.75 * grain + 0.5 * np.roll(grain, 17, 0), 0.75 * grain + 0.5 * np.roll(grain, 31, 1)]
    )
    return cv2.add(picture, 0, dtype=cv2.CV_8U)


def burn_in(slide: Slide, photographs: list[NDArray[np.uint8]], mask: NDArray[np.uint8], *, um_per_px: float) -> None:
    """Burn the section's scale bar and frame lines into the photographs; the mask becomes 0 there."""
    size = mask.shape[0]
    width = max(1, round(size / 110))
    everything = slice(None)
    edges = (
        (everything, slice(width)),
        (slice(width), everything),
        (everything, slice(size - width, size)),
        (slice(size - width, size), everything),
    )
    for there, edge in zip(slide.frame, edges, strict=True):
        if there:
            mask[edge] = 0
            for photograph in photographs:
                photograph[edge] = photograph[edge] // 12
    if slide.bar == "none" or size < 64:
        return
    stamp, ink = _bar_stamp(slide.bar, size, um_per_px)
    height, length = ink.shape
    top, left = size - height, 0 if slide.bar == "strip" else size - length
    if slide.bar != "strip":
        top, left = top - size // 32, left - size // 32
    mask[top : top + height, left : left + length][ink] = 0
    for photograph in photographs:
        photograph[top : top + height, left : left + length][ink] = stamp[ink]


def _bar_stamp(bar: str, size: int, um_per_px: float) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the scale bar as RGB uint8 (h, w, 3) and which of its pixels are burnt in."""
    wanted = size * um_per_px * 0.25
    length_um = min(_BAR_LENGTHS_UM, key=lambda length: abs(np.log(length / wanted)))
    length_px = min(max(int(length_um / um_per_px), 4), size // 2)
    text = f"{length_um} um" if length_um < 1000 else f"{length_um // 1000} mm"
    font_px = max(9, size // 30)
    font = ImageFont.load_default(font_px)
    pad = max(2, size // 100)
    height = font_px + 4 * pad + max(2, size // 130)
    width = size if bar == "strip" else min(length_px + 2 * pad + 2, size - size // 16)
    width = max(width, int(font.getlength(text)) + 2 * pad)
    ground = {"line": (0, 0, 0), "box": (255, 255, 255), "strip": (0, 0, 0)}[bar]
    colour = {"line": (255, 255, 255), "box": (0, 0, 0), "strip": (255, 255, 255)}[bar]
    picture = Image.new("RGB", (width, height), ground)
    pen = ImageDraw.Draw(picture)
    left = width - pad - length_px if bar == "strip" else (width - length_px) // 2
    text_x = left - int(font.getlength(text)) - 2 * pad if bar == "strip" else (width - font.getlength(text)) / 2
    pen.text((max(text_x, 0), pad if bar != "strip" else (height - font_px) / 2 - 1), text, fill=colour, font=font)
    thick = max(2, size // 130)
    bar_top = height // 2 if bar == "strip" else height - pad - thick
    pen.rectangle((left, bar_top, left + length_px - 1, bar_top + thick - 1), fill=colour)
    stamp = np.array(picture, dtype=np.uint8)
    ink = np.ones(stamp.shape[:2], bool) if bar != "line" else stamp.max(axis=2) > 60
    return stamp, ink


def slope_of_thickness(slide: Slide, size: int) -> Map:
    """Return the thickness of the slice in µm, (H, W): no section is ground quite even."""
    x, y = coordinates(size)
    tilt = (x * np.float32(0.8) + y * np.float32(0.6)) / np.float32(size) - np.float32(0.7)
    return ((1 + np.float32(slide.slope) * tilt) * np.float32(slide.thickness_um)).astype(np.float32)
