"""Watch a live source: a camera, a video file, a stream or a folder of photographs gives frames and predictions."""

import os
from collections.abc import Iterator
from contextlib import closing

from geocamnet.errors import SourceError
from geocamnet.images import RgbImage
from geocamnet.runtime.live.source import Source
from geocamnet.runtime.model import Model
from geocamnet.runtime.prediction import Prediction


def watch(
    source: int | str | os.PathLike[str],
    model: Model,
    *,
    max_frames: int | None = None,
    every: int = 1,
    um_per_px: float | None = None,
) -> Iterator[tuple[RgbImage, Prediction]]:
    """Yield frames of a source with their predictions, until it ends or the caller stops.

    The source is opened at the first frame asked for, and let go when the iterator is used up, closed or
    fails. Frames may change their size.

    Args:
        source: a camera's number (0 is the first), the path of a video, a URL (``rtsp://``, ``http://``), a folder
            of photographs, or one photograph.
        model: the student.
        max_frames: stop after so many; None never stops by itself.
        every: predict and yield every n-th frame only, at least 1; the others are passed over.
        um_per_px: micrometres a pixel of the frames, for a model that knows rock at one scale.

    Yields:
        The frame, RGB uint8 (H, W, 3), and its `Prediction`.

    Raises:
        SourceError: the source can't be opened (the text lists what was tried), holds no frame, or has gone away
            and did not come back; ``every`` or ``max_frames`` is out of range.
        DataError: a photograph of the folder can't be read.
    """
    if every < 1 or (max_frames is not None and max_frames < 0):
        raise SourceError(f"every must be at least 1 and max_frames 0 or more; received {every} and {max_frames}.")
    if max_frames == 0:
        return
    given = 0
    with Source(source) as opened, closing(opened.frames(every=every)) as frames:
        for frame in frames:
            yield frame.image, model.predict(frame.image, um_per_px=um_per_px, quick=True)
            given += 1
            if max_frames is not None and given >= max_frames:
                return
