"""One way to predict for a run and for a model file alike, so that both are judged by the same code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geocamnet.card import ModelCard
from geocamnet.runtime.attitudes import in_all_attitudes
from geocamnet.runtime.model import load
from geocamnet.runtime.prediction import probabilities_of
from geocamnet.train.augment import scale_long_side
from geocamnet.train.runs import Network, load_network

Floats = NDArray[np.floating[Any]]
Predict = Callable[[NDArray[np.uint8]], tuple[Floats, Floats]]


def open_predictor(run_or_model: Path, *, all_attitudes: bool = False) -> tuple[Predict, ModelCard]:
    """Open a RUN folder (through PyTorch) or an ``.onnx`` file (through ONNX Runtime).

    Args:
        run_or_model: the folder or the file.
        all_attitudes: whether every photograph is looked at in all eight attitudes, its evidence averaged.

    Returns:
        A function from an RGB uint8 (H, W, 3) photograph to probabilities (C,) and class maps (C, h, w), and the card.

    Raises:
        ModelError: neither a finished run nor a model file.
    """
    if run_or_model.is_dir():
        network, card = load_network(run_or_model)
        return network_predictor(network, card, all_attitudes=all_attitudes), card
    model = load(run_or_model, all_attitudes=all_attitudes)

    def predict(image: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        prediction = model.predict(image)
        return prediction.probabilities, prediction.class_maps

    return predict, model.card


def network_predictor(network: Network, card: ModelCard, *, device: str = "", all_attitudes: bool = False) -> Predict:
    """Return the function that does in PyTorch what the model file does: scale, name, map, calibrate.

    Args:
        network: moved to the device, in place.
        card: its card.
        device: PyTorch's name of it; empty takes a GPU where there is one.
        all_attitudes: as for `open_predictor`.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device).eval()

    def answer(images: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
            if card.long_side_px is not None:
                pixels = scale_long_side(pixels, card.long_side_px)
            evidence = network(pixels / 255)
        return evidence.logits.cpu(), evidence.class_maps.cpu()

    def predict(image: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        logits, class_maps = answer(image[None])
        logits = logits[0] / card.temperature
        probabilities = logits.softmax(0) if card.labels == "single" else logits.sigmoid()
        return probabilities.numpy(), class_maps[0].numpy()

    def predict_turned(image: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        (class_maps,) = in_all_attitudes(lambda images: answer(images)[1].numpy(), image[None], card)
        logits = class_maps.mean(axis=(1, 2), dtype=np.float64) + np.asarray(card.class_bias)
        return probabilities_of(logits, card), class_maps

    return predict_turned if all_attitudes else predict
