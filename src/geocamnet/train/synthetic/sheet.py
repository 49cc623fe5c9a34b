"""The contact sheet: the 22 classes beside each other, PPL and XPL."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from geocamnet.errors import DataError
from geocamnet.taxonomy import CLASSES
from geocamnet.train.synthetic.field import draw_field

_COLUMNS = 4


def contact_sheet(size_px: int = 256, *, seed: int = 0) -> NDArray[np.uint8]:
    """Draw one field of each of the 22 classes, PPL beside XPL, under its title.

    Args:
        size_px: side of each photograph, 32 or more.
        seed: of the sections.

    Returns:
        RGB uint8, four classes (eight photographs) a row.

    Raises:
        DataError: a size or seed out of range.
    """
    if size_px < 32 or seed < 0:
        raise DataError(f"size_px must be 32 or more and seed 0 or more; received {size_px} and {seed}.")
    gap, title_px = max(size_px // 32, 2), max(size_px // 13, 9)
    cell_w, cell_h = 2 * size_px + 3 * gap, size_px + title_px + 3 * gap
    rows = -(-len(CLASSES) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * cell_w + gap, rows * cell_h + gap), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(title_px)
    for number, rock in enumerate(CLASSES):
        left, top = gap + (number % _COLUMNS) * cell_w, gap + (number // _COLUMNS) * cell_h
        drawn = draw_field((rock.name,), section_seed=1000 * seed + rock.id, field=1, size_px=size_px)
        pen.text((left, top), f"{rock.id}  {rock.title}", fill=(20, 20, 20), font=font)
        sheet.paste(Image.fromarray(drawn.ppl), (left, top + title_px + gap))
        sheet.paste(Image.fromarray(drawn.xpl), (left + size_px + gap, top + title_px + gap))
    return np.array(sheet, dtype=np.uint8)
