"""Watch a camera, a video, a stream or a folder of photographs, frame by frame.

    python examples/watch_video.py MODEL.onnx [SOURCE]

SOURCE is a camera's number (0 is the first), a video file, an rtsp:// or http:// address, or a folder. Without
one, a few fields of a drawn thin section are watched. Stop with Ctrl-C.
"""

import sys
import tempfile
from pathlib import Path

import geocamnet as gc
from geocamnet.runtime.measure import area_percent


def main(model_file: str, source: str = "") -> None:
    """Print what the model says of each frame."""
    model = gc.load(model_file)
    with tempfile.TemporaryDirectory() as folder:
        for frame, prediction in gc.watch(source or drawn_section(Path(folder)), model, max_frames=100):
            heatmap = prediction.heatmap()
            print(
                f"{frame.shape[1]} x {frame.shape[0]} px: {prediction.verdict}, "
                f"heat on {area_percent(heatmap):.0f} % of the field, {prediction.elapsed_ms:.0f} ms"
            )


def drawn_section(folder: Path) -> Path:
    """Write four fields of one drawn section into a folder and return it."""
    from geocamnet.train.synthetic import draw_field

    for field in range(1, 5):  # the stage moves: four fields of one section
        gc.write_image(
            folder / f"field-{field}.jpg", draw_field(["stromatolite"], section_seed=5, field=field, size_px=256).ppl
        )
    return folder


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
