"""The house keeps its order: what needs no PyTorch loads none, and the map of the house shows every room."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import geocamnet

SOURCE = Path(geocamnet.__file__).parent
ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "torchvision", "timm", "lightning", "torchmetrics", "sklearn", "skimage", "matplotlib", "onnx"}
# What `prepare` and `synthesize` are made of, and what the command line loads before it knows which command it is.
LIGHT = [
    "cli", "console", "train.recipes", "train.index", "train.sources", "train.manifest", "train.filenames",
    "train.split", "train.archives", "train.originals", "train.layouts", "train.coco", "train.store", "train.journal",
    "train.prepare", "train.audit.table", "train.audit.carry_out", "train.synthetic",
]  # fmt: skip
MODULES = sorted(file.relative_to(SOURCE) for file in SOURCE.rglob("*.py"))


def test_preparing_and_drawing_load_no_pytorch():
    names = [f"geocamnet.{name}" for name in LIGHT]
    program = (
        "import importlib, json, sys\n"
        "found = {}\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        "    found[name] = sorted({one.split('.')[0] for one in sys.modules})\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for name, loaded in json.loads(done.stdout).items():
        assert not set(loaded) & HEAVY, name


def test_the_command_line_loads_neither_pixels_nor_networks_before_it_knows_what_is_asked():
    program = "import geocamnet.cli, json, sys; print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not set(json.loads(done.stdout)) & (HEAVY | {"numpy", "cv2", "PIL", "onnxruntime", "pandas"})


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_says_what_it_is_and_is_on_the_map(module):
    text = (SOURCE / module).read_text(encoding="utf-8")
    described = ast.get_docstring(ast.parse(text))
    assert described
    assert described.splitlines()[0].endswith((".", ":", "?"))
    if module.name != "__init__.py":
        architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
        assert re.search(rf"[├└]── {re.escape(module.name)}\s", architecture), f"docs/architecture.md: no {module}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_module_writes_to_the_screen_or_swallows_errors(module):
    tree = ast.parse((SOURCE / module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{module}:{node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{module}:{node.lineno}: bare except"
            assert not all(isinstance(one, ast.Pass) for one in node.body), f"{module}:{node.lineno}: swallowed"
