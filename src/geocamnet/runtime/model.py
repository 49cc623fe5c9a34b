"""Open a student, an ONNX file that carries its card, and let it predict."""

import hashlib
import logging
import math
import os
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from geocamnet.card import METADATA_KEY, ModelCard
from geocamnet.errors import DataError, ModelError, unknown_name
from geocamnet.images import RgbImage
from geocamnet.runtime.attitudes import in_all_attitudes
from geocamnet.runtime.kept import choice_for, why_not
from geocamnet.runtime.prediction import Prediction, prediction_of, probabilities_of
from geocamnet.runtime.scale import halved, scale_to_card
from geocamnet.sharing import usable_cores

log = logging.getLogger(__name__)

_OUTPUTS = ("probabilities", "class_maps")
_CHECKPOINT_SUFFIXES = frozenset({".pth", ".pt", ".ckpt", ".safetensors", ".h5", ".pkl"})
MOST_THREADS = 4  # of a network this small, more only wait for each other
_FATAL_ONLY = 4  # ONNX Runtime's log severity: its errors are raised, and told in our words


class Model:
    """A student, opened with `load`; it may be shared by threads.

    Attributes:
        card: what the file says of itself.
        path: the file.
        sha256: of the whole file.
        all_attitudes: whether every photograph is looked at in all eight attitudes (see `attitudes.in_all_attitudes`).
    """

    def __init__(
        self, path: Path, content: bytes, session: ort.InferenceSession, card: ModelCard, *, all_attitudes: bool = False
    ) -> None:
        self._content = content
        self.path = path
        self.card = card
        self.all_attitudes = all_attitudes
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._session = session

    def __repr__(self) -> str:
        return f"Model('{self.path}', {len(self.card.classes)} classes, {self.card.parameters:,} parameters)"

    def one_thread(self) -> "Model":
        """Return the same model, whose predictions take a thread each: for several photographs at a time.

        A network this small gains next to nothing from a second thread inside it, and twice the photographs a second
        from a second thread beside it.
        """
        providers = self._session.get_providers()
        if self._session.get_session_options().intra_op_num_threads == 1 or providers[0] != "CPUExecutionProvider":
            return self
        session = _open_session(self.path, self._content, 1, providers)
        return Model(self.path, self._content, session, self.card, all_attitudes=self.all_attitudes)

    def predict(self, image: RgbImage, *, um_per_px: float | None = None, quick: bool = False) -> Prediction:
        """Predict one photograph.

        Args:
            image: RGB uint8 (H, W, 3) of any size; scaling and normalisation are inside the model file.
            um_per_px: micrometres a pixel of the photograph, above 0. Where the card states a scale too, the
                photograph is brought to it first.
            quick: of a photograph at least four times as large as the network sees it, take the means of 2 x 2 pixels
                first, as a live view does: half the time or less at 1280 x 960, the same picture but for the rounding.

        Raises:
            DataError: not RGB uint8 (H, W, 3), or so narrow that nothing is left of it at the network's scale.
            ModelError: the network fails or answers with something that is not a number.
        """
        check_image(image)
        scaled = scale_to_card(image, self.card, um_per_px)
        if quick:
            scaled = halved(scaled, self.card)
        (prediction,) = self._run(scaled[None], image.shape[:2])
        return prediction

    def predict_batch(self, images: NDArray[np.uint8]) -> list[Prediction]:
        """Predict photographs of one size together.

        Args:
            images: RGB uint8 (N, H, W, 3), already at the network's scale where the card states one.

        Returns:
            N predictions; ``elapsed_ms`` is the batch's time divided by N.

        Raises:
            DataError, ModelError: as `predict`.
        """
        if not isinstance(images, np.ndarray) or images.ndim != 4:
            raise DataError(f"A batch must be RGB uint8 (N, H, W, 3); received {_describe(images)}.")
        if len(images) == 0:
            return []
        check_image(images[0])
        return self._run(images, images.shape[1:3])

    def _run(self, images: NDArray[np.uint8], shape_hw: tuple[int, ...]) -> list[Prediction]:
        self._check_not_too_narrow(images.shape[1:3])
        start = time.perf_counter()
        if self.all_attitudes:
            class_maps = in_all_attitudes(lambda turned: self._answer(turned)[1], images, self.card)
            logits = class_maps.mean(axis=(2, 3), dtype=np.float64) + np.asarray(self.card.class_bias)
            probabilities = np.stack([probabilities_of(one, self.card) for one in logits])
        else:
            probabilities, class_maps = self._answer(images)
        elapsed_ms = (time.perf_counter() - start) * 1000 / len(images)
        height, width = int(shape_hw[0]), int(shape_hw[1])
        return [
            prediction_of(
                self.card, images[i], probabilities[i], class_maps[i], shape_hw=(height, width), elapsed_ms=elapsed_ms
            )
            for i in range(len(images))
        ]

    def _answer(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the network's probabilities (N, C) and class maps (N, C, h, w), checked."""
        try:
            probabilities, class_maps = self._session.run(_OUTPUTS, {"image": np.ascontiguousarray(images)})
        except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
            raise ModelError(
                f"{self.path}: the network failed on an image of shape {images.shape[1:]} ({error})."
            ) from error
        count = len(self.card.classes)
        if probabilities.shape != (len(images), count) or class_maps.shape[:2] != (len(images), count):
            raise ModelError(
                f"{self.path}: the card names {count} classes, the network answers with probabilities "
                f"{probabilities.shape} and class maps {class_maps.shape}. Export the model again."
            )
        if not (np.isfinite(probabilities).all() and np.isfinite(class_maps).all()):
            raise ModelError(
                f"{self.path}: the network answered with NaN or infinity. The weights are damaged or training "
                "diverged; export another checkpoint."
            )
        return probabilities, class_maps

    def _check_not_too_narrow(self, shape_hw: tuple[int, ...]) -> None:
        long_side_px = self.card.long_side_px
        if long_side_px is None:
            return
        short, long = min(shape_hw), max(shape_hw)
        if short * long_side_px < long:  # less than one pixel would be left of the short side
            raise DataError(
                f"A photograph {long} px long must be at least {math.ceil(long / long_side_px)} px on its short "
                f"side, for this model scales the long side to {long_side_px} px; received {short} px. Cut it up."
            )


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    threads: int = 0,
    providers: Sequence[str] | None = None,
    all_attitudes: bool = False,
    fastest: bool = False,
) -> Model:
    """Open a student.

    Args:
        path: an ``.onnx`` file written by ``geocamnet export``; None opens the bundled student,
            and says in the log which that is, what it knows and what not.
        threads: of ONNX Runtime inside one prediction; 0 takes one for each core this process may use, at most 4.
            Between predictions they sleep: a camera and texture need the cores too.
        providers: ONNX Runtime's execution providers, the preferred first, such as
            ``["CUDAExecutionProvider", "CPUExecutionProvider"]``; None computes on the CPU, which is there on
            every machine and gives the same numbers everywhere.
        all_attitudes: look at every photograph in all eight attitudes (its quarter turns, and those of its mirror
            image) and average the evidence: eight times the work, for names that are right a little more often.
        fastest: where ``geocamnet benchmark --keep`` found another precision of the same network, beside the file
            named, faster on this machine, open that one and say so in the log, and take the threads that were fastest.
            Without it the file named is the file opened.

    Raises:
        ModelError: no such file, not a model, a model without its card, outputs other than the contract's, or
            a provider that is not installed.
    """
    if threads < 0:
        raise ModelError(f"threads must be 0 (choose) or more; received {threads}.")
    file = bundled_student() if path is None else Path(path)
    content = _read(file)
    choice = choice_for(hashlib.sha256(content).hexdigest()) if fastest else None
    if choice is not None:
        threads = threads or choice.threads
    model = _open(file, content, threads, providers, all_attitudes)
    if path is None:
        log.info("bundled student: %s", model.card.summary)
    if choice is not None and choice.sha256 != model.sha256:
        return _other_precision(model, file.with_name(choice.file), choice.sha256, threads, providers)
    return model


def _open(
    file: Path, content: bytes, threads: int, providers: Sequence[str] | None, all_attitudes: bool = False
) -> Model:
    session = _open_session(file, content, threads or default_threads(), providers)
    metadata = session.get_modelmeta().custom_metadata_map
    if METADATA_KEY not in metadata:
        raise ModelError(
            f"{file}: an ONNX file without a GeoCAMNet card (metadata key '{METADATA_KEY}'). Make one that "
            "carries its card with: geocamnet export RUN MODEL.onnx"
        )
    try:
        card = ModelCard.from_json(metadata[METADATA_KEY])
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from error
    _check_contract(file, session, card)
    return Model(file, content, session, card, all_attitudes=all_attitudes)


def _other_precision(named: Model, file: Path, sha256: str, threads: int, providers: Sequence[str] | None) -> Model:
    """Return the model found faster than the one named, or that one if it may not be replaced; either is said."""
    try:
        content = _read(file)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ModelError("it has changed since")
        model = _open(file, content, threads, providers, named.all_attitudes)
        if reason := why_not(named.card, model.card):
            raise ModelError(reason)
    except ModelError as error:
        log.warning(
            "%s, chosen by geocamnet benchmark --keep, is not used for %s: %s. Measure again.",
            file.name, named.path.name, error,
        )  # fmt: skip
        return named
    share = model.card.quantisation.get("same_name")
    same = "" if share is None else f": the name of fp32 on {share:.1%} of validation photographs"
    log.info(
        "opened %s in place of %s, faster on this machine by geocamnet benchmark --keep (%s%s)",
        file.name, named.path.name, model.card.precision, same,
    )  # fmt: skip
    return model


def default_threads() -> int:
    """Return how many threads a prediction takes: one for each core this process may use, at most 4."""
    return min(MOST_THREADS, usable_cores())


def bundled_student() -> Path:
    """Return the path of the student that comes with the package.

    Raises:
        ModelError: none is bundled.
    """
    file = Path(str(resources.files("geocamnet.runtime"))) / "weights" / "student.onnx"
    if not file.is_file():
        raise ModelError(
            "No student is bundled with this installation. Name a model file (--model MODEL.onnx, or "
            'load("MODEL.onnx")), or make one: geocamnet train, geocamnet distil, geocamnet export.'
        )
    return file


def check_image(image: object) -> None:
    """Check that ``image`` is RGB uint8 (H, W, 3) with at least one pixel.

    Raises:
        DataError: it is not.
    """
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or image.size == 0
    ):
        hint = " Values from 0 to 1 must be multiplied by 255." if "float" in _describe(image) else ""
        raise DataError(
            f"A photograph must be RGB uint8 (H, W, 3), as read_image gives it; received {_describe(image)}.{hint}"
        )


def _read(file: Path) -> bytes:
    if file.suffix.lower() in _CHECKPOINT_SUFFIXES:
        raise ModelError(
            f"{file}: a training checkpoint; the runtime opens .onnx files only. Make one from the run folder "
            "with: geocamnet export RUN MODEL.onnx"
        )
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"{file}: no such model file. Check the path.") from error
    except IsADirectoryError as error:
        raise ModelError(
            f"{file}: a folder, not a model file. From a run folder make one with: geocamnet export {file} MODEL.onnx"
        ) from error
    except OSError as error:
        raise ModelError(f"{file}: can't be read ({error.strerror or error}).") from error
    if content.startswith(b"version https://git-lfs"):
        raise ModelError(f"{file}: a Git LFS pointer, not the model itself. Fetch it with: git lfs pull")
    return content


def _open_session(file: Path, content: bytes, threads: int, providers: Sequence[str] | None) -> ort.InferenceSession:
    wanted = list(providers) if providers else ["CPUExecutionProvider"]
    installed = ort.get_available_providers()
    for name in wanted:
        if name not in installed:
            raise ModelError(unknown_name("execution provider", name, installed))
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # ONNX Runtime's threads look for work between the operations of a prediction, for sleep takes longer than most of
    # these. Left to it they would run on when a prediction is done: at 30 frames a second that takes nearly three times
    # the processor time, away from the camera, from texture and from whatever else runs (measured).
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = _FATAL_ONLY
    try:
        # From memory: ONNX Runtime opens paths in ways of its own, and one file is all there may be.
        session = ort.InferenceSession(content, options, providers=wanted)
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        raise ModelError(
            f"{file}: not an ONNX model that can be opened ({error}). The file is damaged, cut short or of "
            "another kind; export it again with: geocamnet export RUN MODEL.onnx"
        ) from error
    if (used := session.get_providers())[0] != wanted[0]:
        log.warning("%s: %s can't be used here; computing with %s", file, wanted[0], used[0])
    return session


def _check_contract(file: Path, session: ort.InferenceSession, card: ModelCard) -> None:
    again = "Export it again with: geocamnet export RUN MODEL.onnx"
    inputs = [(one.name, one.type) for one in session.get_inputs()]
    if inputs != [("image", "tensor(uint8)")]:
        raise ModelError(f"{file}: must have one input, 'image' of uint8; it has {inputs}. {again}")
    outputs = {one.name: one for one in session.get_outputs()}
    if missing := [name for name in _OUTPUTS if name not in outputs]:
        raise ModelError(f"{file}: the output '{missing[0]}' is missing; it has {', '.join(outputs)}. {again}")
    for name, dims in (("probabilities", 2), ("class_maps", 4)):
        shape = outputs[name].shape
        if outputs[name].type != "tensor(float)" or len(shape) != dims:
            raise ModelError(
                f"{file}: '{name}' must be float32 with {dims} axes; it is {outputs[name].type} {shape}. {again}"
            )
        if isinstance(shape[1], int) and shape[1] != len(card.classes):
            raise ModelError(f"{file}: the card names {len(card.classes)} classes, '{name}' has {shape[1]}. {again}")


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__
