"""What importing loads, looked at in a fresh process: the runtime never sees torch, the package loads nothing."""

import importlib.util
import json
import pkgutil
import subprocess
import sys

import pytest

import geocamnet
import geocamnet.runtime

# None of these may be loaded by the runtime.
HEAVY = {"torch", "torchvision", "timm", "lightning", "torchmetrics", "sklearn", "skimage", "matplotlib", "onnx"}
GROUND = ("errors", "taxonomy", "card", "lights", "stores", "images", "tiles", "doctor", "runtime")
MODULES = [f"geocamnet.{name}" for name in GROUND] + [
    one.name for one in pkgutil.walk_packages(geocamnet.runtime.__path__, "geocamnet.runtime.")
]
# What only a scan reads is an extra's.
OF_AN_EXTRA = {
    "geocamnet.runtime.huge.pyramid": ("tifffile", "geocamnet[big]"),
    "geocamnet.runtime.huge.tiff_scan": ("tifffile", "geocamnet[big]"),
}


def loaded_by(code):
    """Return the top-level modules that a fresh Python has loaded after ``code``."""
    program = f"{code}\nimport json, sys; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_the_runtime_has_modules():
    assert {"geocamnet.runtime.model", "geocamnet.runtime.live.camera", "geocamnet.runtime.huge"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_the_runtime_loads_none_of_the_training_packages(module):
    needed, extra = OF_AN_EXTRA.get(module, (None, None))
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{module} needs {needed}: pip install '{extra}'")
    assert not loaded_by(f"import {module}") & HEAVY


def test_importing_the_package_loads_nothing_heavy_at_all():
    assert not loaded_by("import geocamnet") & (HEAVY | {"cv2", "onnxruntime", "numpy", "PIL"})


def test_every_public_name_is_there_and_loads_none_of_the_training_packages():
    assert not loaded_by("import geocamnet as gc; [getattr(gc, name) for name in gc.__all__]") & HEAVY


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'predict_everything'"):
        _ = geocamnet.predict_everything


def test_dir_lists_the_public_names():
    assert set(geocamnet.__all__) <= set(dir(geocamnet))
    assert "__version__" in dir(geocamnet)
