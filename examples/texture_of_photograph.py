"""Measure the texture of a photograph: GLCM maps, no model needed.

    python examples/texture_of_photograph.py [PHOTOGRAPH] [PICTURE.png]

Without a photograph two fabrics are drawn side by side.
"""

import sys
from pathlib import Path

import numpy as np

import geocamnet as gc

FEATURES = ("contrast", "homogeneity", "entropy")


def main(photograph: str = "", picture: str = "out/texture.png") -> None:
    """Measure three features, print their ranges, write them as grey pictures beside the photograph."""
    image = gc.read_image(photograph) if photograph else drawn_section()

    maps = gc.texture_maps(image, features=FEATURES, window_px=15, levels=16)  # one float32 (H, W) each

    panels = [image]
    for name, values in maps.items():
        print(f"{name:12} {values.min():8.3f} to {values.max():8.3f}, mean {values.mean():.3f}")
        shown = np.uint8(255 * np.clip(values / np.quantile(values, 0.99), 0, 1))
        panels.append(np.repeat(shown[..., None], 3, axis=2))
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    gc.write_image(picture, np.hstack(panels))
    print(f"photograph, {', '.join(FEATURES)}: {picture}")


def drawn_section():
    """Return a drawn photograph of two fabrics, RGB uint8 (H, W, 3)."""
    from geocamnet.train.synthetic import draw_field

    return draw_field(["oolite", "micritic_limestone"], section_seed=3, field=1, size_px=384).ppl


if __name__ == "__main__":
    main(*sys.argv[1:])
