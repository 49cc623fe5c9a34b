"""Weights on disk: read without executing code, from a state dict of torchvision, timm or a run."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from geocamnet.errors import ModelError
from geocamnet.images import written_aside

BUNDLED = Path(__file__).parent / "starts"
WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict: ``.safetensors``, or ``.pth``/``.pt``/``.ckpt`` holding tensors only.

    A run folder gives its best checkpoint. Prefixes that training code adds (``module.``, ``network.``) are cut.

    Raises:
        ModelError: no such file, a pickled model (which could run code), or no tensors in it.
    """
    file = _weights_file(path)
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except Exception as error:  # safetensors raises its own, undocumented kinds
            raise ModelError(f"{file}: not a safetensors file ({error}).") from error
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of any other kind fails in as many ways as there are kinds
        # PyTorch's own words are not passed on: they advise to load such a file all the same.
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error).upper():
            raise ModelError(
                f"{file}: is a pickled model, which could run any code, and is refused. Where it came from, write its "
                "weights alone: torch.save(model.state_dict(), 'weights.pth')"
            ) from error
        raise ModelError(
            f"{file}: not a state dict written by torch.save, or cut short ({type(error).__name__}). Copy it again, "
            "or write it anew: torch.save(model.state_dict(), 'weights.pth')"
        ) from error
    for name in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
            break
    if not isinstance(loaded, Mapping):
        raise ModelError(f"{file}: holds a {type(loaded).__name__}, not a state dict of named tensors.")
    tensors = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ModelError(f"{file}: holds no tensors.")
    for prefix in ("module.", "network.", "model."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def weights_sha256(path: Path) -> str:
    """Return the sha256 of the file that `read_weights` reads.

    Raises:
        ModelError: no such file.
    """
    with _weights_file(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _weights_file(path: Path) -> Path:
    file = path / "checkpoints" / "best.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise ModelError(f"{file}: no such file. Name a .safetensors or .pth state dict, or a finished RUN folder.")
    return file


def bundled_start(backbone: str) -> Path:
    """Return the file of the start that comes with this package for a student's trunk.

    Raises:
        ModelError: there is none for that trunk.
    """
    file = BUNDLED / f"{backbone}.safetensors"
    if not file.is_file():
        there = ", ".join(sorted(one.stem for one in BUNDLED.glob("*.safetensors"))) or "none"
        raise ModelError(
            f"No start for '{backbone}' comes with this package (for: {there}). Use --weights none or imagenet, or "
            "make one of your own: geocamnet pretrain"
        )
    return file


def save_weights(path: Path, network: nn.Module) -> None:
    """Write a network's state dict as ``.safetensors`` or, by the suffix, ``.pth``; aside first, then renamed."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with written_aside(path) as aside:
        if path.suffix == ".safetensors":
            aside.write_bytes(save(tensors))  # save_file would leave a file that only its owner can read
        else:
            torch.save(tensors, aside)


def start_from(network: nn.Module, tensors: Mapping[str, Tensor], *, what: str, head: tuple[str, ...]) -> None:
    """Copy weights into a network that is to be trained on: everything but a head of another size must fit.

    Args:
        network: changed in place.
        tensors: a state dict.
        what: where it came from, for the error.
        head: prefixes of the names that belong to the classifier; they are left as they are where they differ.

    Raises:
        ModelError: the trunk does not fit.
    """
    own = network.state_dict()
    fits = {name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape}
    trunk = [name for name in own if not name.startswith(head) and not name.endswith("num_batches_tracked")]
    missing = [name for name in trunk if name not in fits]
    if missing:
        raise ModelError(
            f"{what}: does not fit the network: {len(missing)} of {len(trunk)} tensors of the trunk are missing "
            f"or of another shape, the first: {missing[0]}. Is it of the backbone that was asked for?"
        )
    network.load_state_dict(fits, strict=False)


def load_exactly(network: nn.Module, tensors: Mapping[str, Tensor], *, what: str) -> None:
    """Copy every weight into a network that is to be used as it is.

    Raises:
        ModelError: a tensor is missing, left over or of another shape, the size of the head included.
    """
    own = network.state_dict()
    differing = [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    missing = [n for n in own if n not in tensors and not n.endswith("num_batches_tracked")]
    extra = [n for n in tensors if n not in own]
    if differing or missing or extra:
        first = (differing or [f"missing: {n}" for n in missing] or [f"left over: {n}" for n in extra])[0]
        raise ModelError(
            f"{what}: is not of this network ({len(differing)} tensors of another shape, {len(missing)} missing, "
            f"{len(extra)} left over; the first: {first}). Check the backbone and the list of classes."
        )
    network.load_state_dict(dict(tensors), strict=False)
