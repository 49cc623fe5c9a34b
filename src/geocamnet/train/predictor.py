"""One way to predict for a run and for a model file alike, so that both are judged by the same code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geocamnet.card import ModelCard
from geocamnet.runtime.model import load
from geocamnet.train.augment import scale_long_side
from geocamnet.train.runs import Network, load_network

Floats = NDArray[np.floating[Any]]
Predict = Callable[[NDArray[np.uint8]], tuple[Floats, Floats]]


def open_predictor(run_or_model: Path) -> tuple[Predict, ModelCard]:
    """Open a RUN folder (through PyTorch) or an ``.onnx`` file (through ONNX Runtime).

    Returns:
        A function from an RGB uint8 (H, W, 3) photograph to probabilities (C,) and class maps (C, h, w), and the card.

    Raises:
        ModelError: neither a finished run nor a model file.
    """
    if run_or_model.is_dir():
        network, card = load_network(run_or_model)
        return network_predictor(network, card), card
    model = load(run_or_model)

    def predict(image: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        prediction = model.predict(image)
        return prediction.probabilities, prediction.class_maps

    return predict, model.card


def network_predictor(network: Network, card: ModelCard, *, device: str = "") -> Predict:
    """Return the function that does in PyTorch what the model file does: scale, name, map, calibrate.

    Args:
        network: moved to the device, in place.
        card: its card.
        device: PyTorch's name of it; empty takes a GPU where there is one.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device).eval()

    def predict(image: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float()
            if card.long_side_px is not None:
                pixels = scale_long_side(pixels, card.long_side_px)
            logits, class_maps = network(pixels / 255)
            logits = logits[0] / card.temperature
            probabilities = logits.softmax(0) if card.labels == "single" else logits.sigmoid()
        return probabilities.cpu().numpy(), class_maps[0].cpu().numpy()

    return predict
