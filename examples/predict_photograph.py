"""Name one photograph and see where the name comes from.

    python examples/predict_photograph.py MODEL.onnx [PHOTOGRAPH] [PICTURE.jpg]

Without a photograph a thin section is drawn. A model file: `make demo` leaves out/demo/student.onnx.
"""

import sys
from pathlib import Path

import geocamnet as gc


def main(model_file: str, photograph: str = "", picture: str = "out/predicted.jpg") -> None:
    """Predict, print the three most probable classes, write the refined heatmap on the photograph."""
    model = gc.load(model_file)
    image = gc.read_image(photograph) if photograph else drawn_section()

    prediction = model.predict(image)

    print(f"{prediction.verdict} ({prediction.elapsed_ms:.0f} ms)")
    for name, probability in prediction.top(3):
        print(f"  {probability:6.1%}  {name}")
    heatmap = gc.enhance(prediction.heatmap(), image, texture=model.card.texture)  # (H, W), 0 to 1
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    gc.write_image(picture, gc.overlay(image, heatmap))
    print(f"heatmap: {picture}")


def drawn_section():
    """Return a drawn photograph, RGB uint8 (H, W, 3)."""
    from geocamnet.train.synthetic import draw_field

    return draw_field(["oolite"], section_seed=7, field=1, size_px=384).ppl


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
