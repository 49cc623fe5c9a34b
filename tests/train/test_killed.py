"""Killed at any moment, again and again, a command that is given again ends in the files of an unbroken run.

``GEOCAMNET_KILLS`` says how often each command is killed; once is enough to see that it holds at all.
"""

import csv
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
import torch

from drawn import contents, fill
from tiny import write_data

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups to kill")

KILLS = int(os.environ.get("GEOCAMNET_KILLS", "1"))
COMMANDS = ("prepare", "cam", "distil", "run", "scan")


# --- the commands: of a folder to fill, the words that fill it -------------------------------------------


@pytest.fixture
def prepare_words(tmp_path):
    raw = fill(tmp_path / "raw", each=14)
    (raw / "foam" / "damaged.jpg").write_bytes(b"no photograph")
    # Small originals are drawn quickly; large copies of them keep the command at work.
    return lambda out: ["prepare", raw, out, "--long-side-px", 1400, "--workers", 2]


@pytest.fixture
def cam_words(tmp_path, make_data, make_run):
    data = make_data(tmp_path / "data", counts=(16, 4, 4), shape_hw=(150, 200))
    teacher = make_run(tmp_path / "teacher", image_px=200)

    def words(out):
        if not out.exists():
            shutil.copytree(teacher, out)
        return ["cam", data, out, "--part", 4]

    return words


@pytest.fixture
def distil_words(tmp_path, make_run):
    data = write_data(tmp_path / "data")
    teacher = make_run(tmp_path / "teacher", backbone="test_resnet", classes=("oolite", "vug"))
    options = ["--backbone", "mobilenetv3_small_050", "--image-px", 64, "--crop-px", 64, "--batch-size", 4,
               "--epochs", 8, "--workers", 0]  # fmt: skip
    return lambda out: ["distil", data, out, "--teacher", teacher, "--teacher-maps", "online", *options, "--resume"]


@pytest.fixture
def run_words(tmp_path, student_file):
    photographs = fill(tmp_path / "photographs", each=8, size_wh=(240, 180))
    (photographs / "foam" / "damaged.jpg").write_bytes(b"no photograph")
    return lambda out: ["run", photographs, out, "--model", student_file]


@pytest.fixture
def scan_words(tmp_path, student_file):
    grain = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "scan.tif", grain.repeat(40, 0).repeat(40, 1), tile=(128, 128), compression="zlib")
    return lambda out: ["scan", tmp_path / "scan.tif", out, "--model", student_file]


# --- what is compared -----------------------------------------------------------------------------------


def hashes(folder):
    """A hash of every file below a folder, without what is a time in it."""
    return {
        name: hashlib.sha256(what_must_be_equal(name, content)).hexdigest()
        for name, content in contents(folder).items()  # which leaves the milliseconds out of predictions.csv
        if not name.startswith("tensorboard/")  # curves over the time of day, in files named by it
    }


def what_must_be_equal(name, content):
    """A file's content, without when it was made and how long that took."""
    if name == "card.json":
        return without_key(content, "created")
    if name == "summary.json":
        return without_key(content, "seconds")
    if name == "log.csv":
        rows = list(csv.DictReader(io.StringIO(content.decode())))
        return repr([{column: cell for column, cell in row.items() if column != "seconds"} for row in rows]).encode()
    if name == "checkpoints/last.ckpt":  # pickled: values that were loaded once are equal, not the same bytes
        return repr(tensors_as_bytes(torch.load(io.BytesIO(content), weights_only=True))).encode()
    return content


def tensors_as_bytes(value):
    if isinstance(value, dict):
        return [(key, tensors_as_bytes(one)) for key, one in value.items()]
    if isinstance(value, list | tuple):
        return [tensors_as_bytes(one) for one in value]
    return (value.shape, value.numpy().tobytes()) if isinstance(value, torch.Tensor) else value


def without_key(content, key):
    values = json.loads(content)
    values.pop(key, None)
    return json.dumps(values).encode()


# --- living and dying -----------------------------------------------------------------------------------


def tell(text):
    """Say what happens, for whoever reads the log of many kills."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def start(words):
    """Begin ``geocamnet`` in a group of processes of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "geocamnet", *map(str, words)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def kill(process):
    """Kill the whole group, and wait until the last of it is gone."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.read()  # ends only when the last of its processes has left and closed its end


def let_end(process):
    """Wait for a command that is to end by itself, and well."""
    try:
        _, said = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        kill(process)
        raise
    assert process.returncode == 0, said
    assert "Traceback" not in said


def looks(folder):
    """What changes with every file that is made, written to or renamed below a folder."""
    seen = []
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                told = os.stat(os.path.join(path, name))  # noqa: PTH116, PTH118  a write is caught only by the quick
            except FileNotFoundError:
                continue
            seen.append((path, name, told.st_size, told.st_mtime_ns))
    return seen


def wait_for_change(process, folder):
    """Wait until a process writes something; return whether it did before it ended."""
    before = looks(folder)
    while process.poll() is None:
        if looks(folder) != before:
            return True
        time.sleep(0.0005)
    return False


def live_for(process, folder, seconds, *, until_it_writes):
    """Let a process live so long after its first write, which Python's start comes before; return whether it does."""
    alive = wait_for_change(process, folder)
    if alive:
        try:
            process.wait(seconds)
            alive = False
        except subprocess.TimeoutExpired:
            alive = not until_it_writes or wait_for_change(process, folder)
    return alive


def end_in_spite_of_kills(words, out, at_work, draw, at_most):
    """Begin a command, kill it while there should be work left, give it again, let it end; return how many kills."""
    kills, left = 0, at_work
    while kills < at_most and left > at_work / 5:
        seconds, until_it_writes = draw.uniform(0, left), draw.random() < 0.5  # half of the kills are amid writing
        process = start(words(out))
        alive = live_for(process, out, seconds, until_it_writes=until_it_writes)
        tell(f"{out.parent.name}: {seconds:.3f} s{' and a write' * until_it_writes}: {'killed' if alive else 'ended'}")
        if not alive:
            let_end(process)
            return kills
        kill(process)
        kills, left = kills + 1, left - seconds
    let_end(start(words(out)))
    return kills


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_moment_and_given_again_it_ends_in_the_files_of_an_unbroken_run(name, tmp_path, request):
    words = request.getfixturevalue(f"{name}_words")
    out = tmp_path / "unbroken" / "out"
    process = start(words(out))
    wait_for_change(process, out)
    began = time.monotonic()
    let_end(process)
    at_work, whole = time.monotonic() - began, hashes(out)
    tell(f"{name}: {len(whole)} files in {at_work:.1f} s of work")

    draw, kills, number = random.Random(name), 0, 0
    while kills < KILLS:
        out, number = tmp_path / f"try{number}" / "out", number + 1
        kills += end_in_spite_of_kills(words, out, at_work, draw, KILLS - kills)
        assert hashes(out) == whole
    tell(f"{name}: {kills} kills in {number} tries")
