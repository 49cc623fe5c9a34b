"""GeoCAMNet names carbonate rocks in thin section and maps where the name comes from.

Public names are resolved on first use, so that ``import geocamnet`` imports nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geocamnet.card import ModelCard
    from geocamnet.errors import DataError, GeocamnetError, ModelError, SourceError
    from geocamnet.images import read_image, write_image
    from geocamnet.runtime.folder.predict import predict_folder
    from geocamnet.runtime.heatmap import enhance
    from geocamnet.runtime.huge.predict import predict_huge
    from geocamnet.runtime.live.camera import watch
    from geocamnet.runtime.model import Model, load
    from geocamnet.runtime.pairs import combine
    from geocamnet.runtime.prediction import Prediction
    from geocamnet.runtime.render import overlay
    from geocamnet.runtime.texture import texture_maps
    from geocamnet.taxonomy import CLASSES

__version__ = "0.1.0"

_HOMES = {
    "CLASSES": "geocamnet.taxonomy",
    "DataError": "geocamnet.errors",
    "GeocamnetError": "geocamnet.errors",
    "Model": "geocamnet.runtime.model",
    "ModelCard": "geocamnet.card",
    "ModelError": "geocamnet.errors",
    "Prediction": "geocamnet.runtime.prediction",
    "SourceError": "geocamnet.errors",
    "combine": "geocamnet.runtime.pairs",
    "enhance": "geocamnet.runtime.heatmap",
    "load": "geocamnet.runtime.model",
    "overlay": "geocamnet.runtime.render",
    "predict_folder": "geocamnet.runtime.folder.predict",
    "predict_huge": "geocamnet.runtime.huge.predict",
    "read_image": "geocamnet.images",
    "texture_maps": "geocamnet.runtime.texture",
    "watch": "geocamnet.runtime.live.camera",
    "write_image": "geocamnet.images",
}

__all__ = [
    "CLASSES",
    "DataError",
    "GeocamnetError",
    "Model",
    "ModelCard",
    "ModelError",
    "Prediction",
    "SourceError",
    "combine",
    "enhance",
    "load",
    "overlay",
    "predict_folder",
    "predict_huge",
    "read_image",
    "texture_maps",
    "watch",
    "write_image",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'geocamnet' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
