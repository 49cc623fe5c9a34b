"""Fitting: it learns, it goes on after every kind of end as if nothing had been, and several processes make one run."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from rich.console import Console
from torch.nn import functional as F

import geocamnet.train.bar
from geocamnet.errors import ModelError
from geocamnet.train import fit
from geocamnet.train import fitting as fitting_module
from geocamnet.train import training as training_module
from geocamnet.train.distil import dkd
from geocamnet.train.fit import KeepLast, append_log, choose_workers
from geocamnet.train.fitting import Fitting, Lessons, OnLooker, match_stages, mean_evidence
from geocamnet.train.recipes import DistilRecipe, TrainRecipe
from geocamnet.train.runs import load_network, read_card
from geocamnet.train.student import make_student
from geocamnet.train.teacher import Evidence, Teacher, make_teacher
from geocamnet.train.training import distil, train
from geocamnet.train.weights import read_weights
from tiny import STUDENT, TEACHER, read_log, write_data

torch.set_num_threads(1)

# The command line that trains as `TEACHER` does.
AS_TEACHER = [
    *("--backbone", "test_resnet", "--image-px", "64", "--crop-px", "64", "--lr", "3e-3", "--workers", "0"),
    *("--augment.scale", "1", "--augment.stain", "0", "--augment.light", "0"),
    *("--augment.focus", "0", "--augment.noise", "0", "--augment.burn-in", "0"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("fit") / "data")


def ended(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE  # nobody may be there to ask for its exit status
    except psutil.NoSuchProcess:
        return True


def wait_until_kept(process, run, *, within_s):
    """Wait for the first checkpoint that a process writes."""
    deadline = time.monotonic() + within_s
    while not (run / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def command_line(*words, **options):
    """Start ``geocamnet`` in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    return subprocess.Popen(
        [sys.executable, "-m", "geocamnet", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options,
    )  # fmt: skip


def assert_same_run(one, other):
    """The weights that are kept, and everything the next epoch would start from, are the same."""
    for weights, others in ((read_weights(one), read_weights(other)), (last(one), last(other))):
        assert weights.keys() == others.keys()
        for name, value in weights.items():
            torch.testing.assert_close(value, others[name], atol=1e-6, rtol=0, msg=name)
    drop = ("seconds",)
    kept = [[{k: v for k, v in row.items() if k not in drop} for row in read_log(run)] for run in (one, other)]
    assert [row["epoch"] for row in kept[0]] == [row["epoch"] for row in kept[1]]
    for row, twin in zip(*kept, strict=True):
        assert row == pytest.approx(twin, abs=1e-4)


def last(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


# --- learning --------------------------------------------------------------------------------------------


def test_training_lowers_the_loss_until_every_photograph_is_named(data, tmp_path):
    train(data, tmp_path / "run", replace(TEACHER, epochs=8, label_smoothing=0.0))
    rows = read_log(tmp_path / "run")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]
    assert max(row["val_accuracy"] for row in rows) == 1
    assert rows[-1]["lr"] < 0.2 * max(row["lr"] for row in rows)


def test_in_half_precision_as_on_a_gpu_teacher_and_student_learn_as_in_single(data, tmp_path):
    lessons = {"feature_weight": 1.0, "mosaic_weight": 1.0, "equivariance_weight": 1.0, "teacher_maps": "online"}
    losses = []
    for precision in ("fp32", "bf16"):
        teacher, student = tmp_path / precision / "teacher", tmp_path / precision / "student"
        train(data, teacher, replace(TEACHER, epochs=4, precision=precision))
        distil(data, student, replace(STUDENT, precision=precision, **lessons), teacher=teacher)
        assert all(value.dtype != torch.bfloat16 for value in read_weights(student).values())
        losses.append([row["train_loss"] for run in (teacher, student) for row in read_log(run)])
    assert losses[0][3] < 0.7 * losses[0][0]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_a_wild_step_is_cut_to_the_largest_gradient(data, tmp_path, monkeypatch):
    norms = []
    step = torch.optim.AdamW.step

    def measured(optimiser, closure):
        def closed():
            loss = closure()
            moved = [one for group in optimiser.param_groups for one in group["params"] if one.grad is not None]
            norms.append(float(torch.cat([one.grad.flatten() for one in moved]).norm()))
            return loss

        return step(optimiser, closed)

    monkeypatch.setattr(torch.optim.AdamW, "step", measured)
    monkeypatch.setattr(Fitting, "_label_loss", lambda self, logits, batch: 1e4 * (logits - 1).square().mean())
    train(data, tmp_path / "run", replace(TEACHER, epochs=1))
    assert norms
    assert max(norms) == pytest.approx(fitting_module.LARGEST_GRADIENT, rel=1e-3)


def test_what_loads_photographs_changes_nothing(data, tmp_path):
    train(data, tmp_path / "alone", TEACHER)
    train(data, tmp_path / "helped", replace(TEACHER, workers=2, cache_mb=0))
    assert_same_run(tmp_path / "alone", tmp_path / "helped")


@pytest.mark.parametrize("balance", ["sampler", "logit_adjust"])
def test_long_tailed_classes_can_be_balanced(balance, tmp_path):
    data = write_data(tmp_path / "data", train={"oolite": 14, "vug": 2})
    card = train(data, tmp_path / "run", replace(TEACHER, epochs=1, balance=balance))
    assert card.recipe["balance"] == balance
    assert len(read_log(tmp_path / "run")) == 1


def test_gradients_are_added_up_over_as_many_batches_as_asked(data, tmp_path):
    train(data, tmp_path / "run", replace(TEACHER, batch_size=2, accumulate=3, epochs=2))
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2 * 12 // 2 // 3  # epochs x photographs / batch / accumulate


def test_a_loss_that_is_no_number_ends_the_training_and_says_what_to_do(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Fitting, "_label_loss", lambda self, logits, batch: logits.sum() * float("nan"))
    with pytest.raises(ModelError, match=r"loss is nan in epoch 1.*Lower --lr"):
        train(data, tmp_path / "run", TEACHER)


def test_the_photographs_a_bar_stands_for_are_those_of_the_whole_training(data, tmp_path, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setenv("GEOCAMNET_PROGRESS", "1")
    monkeypatch.setattr(
        geocamnet.train.bar, "Console", lambda **_: Console(file=screen, force_terminal=True, width=100)
    )
    train(data, tmp_path / "run", TEACHER)
    assert "epoch 1 of 2" in screen.getvalue()
    assert "epoch 2 of 2" in screen.getvalue()
    assert "left" in screen.getvalue()


# --- what is kept ----------------------------------------------------------------------------------------


def test_the_weights_kept_are_those_of_the_best_epoch(data, tmp_path, monkeypatch):
    scores, states = iter([0.25, 0.75, 0.5, 0.75]), []
    judge = fitting_module.classification_metrics

    def scripted(*arguments):
        return judge(*arguments) | {"balanced_accuracy": next(scores)}

    def remember(self):
        states.append({name: value.clone() for name, value in self.judged_network.state_dict().items()})
        judged(self)

    judged = Fitting.on_validation_epoch_end
    monkeypatch.setattr(fitting_module, "classification_metrics", scripted)
    monkeypatch.setattr(Fitting, "on_validation_epoch_end", remember)
    train(data, tmp_path / "run", replace(TEACHER, epochs=4))
    kept = read_weights(tmp_path / "run")
    assert all(torch.equal(kept[name], value) for name, value in states[1].items())
    assert not all(torch.equal(kept[name], value) for name, value in states[3].items())


def test_averaged_weights_are_the_ones_judged_and_kept(data, tmp_path):
    train(data, tmp_path / "run", replace(TEACHER, epochs=1, ema=0.5))
    kept, saved = read_weights(tmp_path / "run"), last(tmp_path / "run")
    assert all(torch.equal(value, saved[f"averaged.module.{name}"]) for name, value in kept.items())
    assert not all(torch.equal(value, saved[f"network.{name}"]) for name, value in kept.items())


def test_averaged_weights_follow_the_formula():
    recipe = TrainRecipe(ema=0.9)
    module = Fitting(
        make_teacher("test_resnet", 2), recipe, classes=("oolite", "vug"), labels="single", prior=np.full(2, 0.5)
    )
    module.on_train_batch_end()  # the first one is copied
    before = module.averaged.module.class_bias.clone()
    with torch.no_grad():
        module.network.class_bias.add_(1)
    module.on_train_batch_end()
    torch.testing.assert_close(module.averaged.module.class_bias, before + 0.1)


@pytest.mark.parametrize("val", [{}, {"": 3}], ids=["no validation photograph", "none with a label"])
def test_without_anything_to_judge_by_the_last_epoch_is_the_best(val, tmp_path):
    data = write_data(tmp_path / "data", val=val)
    card = train(data, tmp_path / "run", TEACHER)
    kept, saved = read_weights(tmp_path / "run"), last(tmp_path / "run")
    assert all(torch.equal(value, saved[f"network.{name}"]) for name, value in kept.items())
    assert card.abstain_below == 0
    assert card.temperature == 1


def test_validation_photographs_of_unknown_classes_judge_nothing(tmp_path):
    data = write_data(tmp_path / "data", val={"foam": 2})
    train(data, tmp_path / "run", TEACHER)
    assert "val_accuracy" not in read_log(tmp_path / "run")[0]
    load_network(tmp_path / "run")


# --- going on --------------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for whatever ends a process."""


def stop_in(monkeypatch, owner, method, *, call, after):
    """Raise `Killed` in the ``call``-th call of a method, before or after it has done its work."""
    real, calls = getattr(owner, method), []

    def wrapped(*arguments, **options):
        calls.append(1)
        if len(calls) == call and not after:
            raise Killed
        result = real(*arguments, **options)
        if len(calls) == call and after:
            raise Killed
        return result

    monkeypatch.setattr(owner, method, wrapped)


@pytest.mark.parametrize(
    ("owner", "method", "call", "after"),
    [
        (KeepLast, "on_train_epoch_end", 2, True),  # between two epochs
        (Fitting, "training_step", 7, False),  # in the midst of the third epoch
        (Fitting, "on_validation_epoch_end", 3, True),  # best weights written, nothing else
        (fit, "append_log", 3, True),  # the log written, the checkpoint not
        (fit, "append_log", 1, False),  # before anything was written
    ],
    ids=["between epochs", "in an epoch", "after judging", "after the log", "in the first epoch"],
)
def test_a_run_that_was_stopped_and_resumed_is_the_run_that_was_not(owner, method, call, after, data, tmp_path):
    recipe = replace(TEACHER, epochs=4, ema=0.8, balance="sampler", augment=TrainRecipe().augment)
    train(data, tmp_path / "whole", recipe)
    with pytest.MonkeyPatch.context() as patched:
        stop_in(patched, owner, method, call=call, after=after)
        with pytest.raises(Killed):
            train(data, tmp_path / "broken", recipe)
    assert not (tmp_path / "broken" / "card.json").exists()
    train(data, tmp_path / "broken", recipe, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
    assert read_card(tmp_path / "whole").map_scale == pytest.approx(read_card(tmp_path / "broken").map_scale)


@pytest.mark.parametrize(
    ("stopped_at", "accumulate", "workers", "lost"),
    [(5, 1, 0, 0), (9, 1, 0, 0), (9, 1, 2, 0), (8, 2, 0, 1)],  # six batches an epoch; a step of two is begun anew
    ids=["in the first epoch", "in the second", "with loading processes", "in half a step"],
)
def test_a_long_epoch_is_kept_in_its_midst_and_taken_up_there(
    stopped_at, accumulate, workers, lost, data, tmp_path, monkeypatch
):
    monkeypatch.setattr(fit, "KEEP_EVERY_S", 0.0)
    recipe = replace(TEACHER, epochs=3, batch_size=2, ema=0.8, mosaic_weight=0.5, balance="sampler",
                     accumulate=accumulate, workers=workers, augment=TrainRecipe().augment)  # fmt: skip
    train(data, tmp_path / "whole", recipe)
    with monkeypatch.context() as patched:
        stop_in(patched, Fitting, "training_step", call=stopped_at, after=False)
        with pytest.raises(Killed):
            train(data, tmp_path / "broken", recipe)
    seen, step = [], Fitting.training_step
    monkeypatch.setattr(Fitting, "training_step", lambda self, *batch: seen.append(1) or step(self, *batch))
    train(data, tmp_path / "broken", recipe, resume=True)
    assert len(seen) == 3 * 6 - (stopped_at - 1) + lost
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_a_finished_run_that_is_resumed_stays_as_it_is(data, tmp_path):
    train(data, tmp_path / "run", TEACHER)
    before = (read_weights(tmp_path / "run"), read_log(tmp_path / "run"))
    train(data, tmp_path / "run", TEACHER, resume=True)
    assert all(torch.equal(value, before[0][name]) for name, value in read_weights(tmp_path / "run").items())
    assert read_log(tmp_path / "run") == before[1]


def test_ctrl_c_reaches_the_caller_as_ctrl_c_and_can_be_pressed_again(data, tmp_path, monkeypatch):
    def interrupted(self, batch, number):
        raise KeyboardInterrupt

    monkeypatch.setattr(Fitting, "training_step", interrupted)
    # A job that a shell starts in the background ignores Ctrl-C from the first.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "run", TEACHER)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_killed_process_is_taken_up_by_the_same_command(data, tmp_path):
    recipe = replace(TEACHER, epochs=20)
    run = tmp_path / "killed"
    words = ["train", data, run, *AS_TEACHER, "--epochs", 20, "--batch-size", 4]
    process = command_line(*words)
    wait_until_kept(process, run, within_s=120)
    process.kill()
    process.communicate()
    assert not (run / "card.json").exists()
    assert 1 <= len(read_log(run)) < 20
    process = command_line(*words, "--resume")
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "Warning" not in errors
    train(data, tmp_path / "whole", recipe)
    assert_same_run(tmp_path / "whole", run)
    assert not list(run.rglob(".aside*"))


# --- several processes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("val", [{"oolite": 1}, {"oolite": 2, "vug": 1}], ids=["one for two", "three for two"])
def test_two_processes_make_one_run_even_of_uneven_shares(val, tmp_path):
    data = write_data(tmp_path / "data", train={"oolite": 4, "vug": 3}, val=val)
    run = tmp_path / "run"
    process = command_line("train", data, run, *AS_TEACHER, "--epochs", 2, "--batch-size", 2, "--devices", 2)
    try:
        _, errors = process.communicate(timeout=200)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        raise
    assert process.returncode == 0, errors
    said = [line.split(":")[0] for line in errors.splitlines()]
    assert said == ["epoch 1 of 2", "epoch 2 of 2", str(run), "next"], errors  # one process speaks for both
    assert [row["epoch"] for row in read_log(run)] == [1, 2]
    assert read_log(run)[0]["val_accuracy"] * sum(val.values()) == pytest.approx(
        round(read_log(run)[0]["val_accuracy"] * sum(val.values())), abs=1e-4
    )
    assert read_card(run).class_names == ("oolite", "vug")
    assert len(list((run / "tensorboard").iterdir())) == 2  # one process's curves and their settings
    load_network(run)


@pytest.mark.parametrize("launcher", ["torchrun, a machine", "torchrun, two machines", "SLURM"])
def test_processes_that_a_cluster_starts_make_one_run(launcher, data, tmp_path):
    run, port = tmp_path / "run", str(free_port())
    words = ["-m", "geocamnet", "train", data, run, *AS_TEACHER, "--epochs", "1", "--batch-size", "2"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--master-addr", "127.0.0.1", "--master-port", port]
    commands, environments = [], [{}]
    if launcher == "SLURM":  # srun starts every process itself, and tells it so
        commands = [[sys.executable, *words, "--devices", "2"]] * 2
        told = {"JOB_ID": "1", "JOB_NAME": "train", "NODELIST": "127.0.0.1", "NNODES": "1", "NODEID": "0"}
        told |= {"NTASKS": "2", "NTASKS_PER_NODE": "2"}
        environments = [
            {f"SLURM_{name}": value for name, value in (told | {"PROCID": rank, "LOCALID": rank}).items()}
            | {"MASTER_PORT": port}
            for rank in ("0", "1")
        ]
    elif launcher == "torchrun, a machine":
        commands = [[*torchrun, "--nproc-per-node", "2", *words, "--devices", "2"]]
    else:
        machine = ["--nnodes", "2", "--nproc-per-node", "1", "--node-rank"]
        commands = [[*torchrun, *machine, rank, *words, "--nodes", "2"] for rank in ("0", "1")]
        environments = [{}, {}]
    processes = [
        subprocess.Popen(
            [*map(str, command)], env=os.environ | {"OMP_NUM_THREADS": "1"} | more,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for command, more in zip(commands, environments, strict=True)
    ]  # fmt: skip
    said = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    assert "".join(said).count("epoch 1 of 1") == 1  # one process speaks for all
    assert read_card(run).class_names == ("oolite", "vug")
    load_network(run)


def test_two_processes_learn_what_one_learns_from_twice_the_batch(tmp_path):
    data = write_data(tmp_path / "data", train={"oolite": 8, "vug": 8})
    # Without batch normalisation: on a processor its statistics are each process's own.
    words = ["test_efficientnet_gn" if one == "test_resnet" else one for one in AS_TEACHER]
    words += ["--epochs", 3, "--ema", 0.5]
    one, two = tmp_path / "one", tmp_path / "two"
    for run, options in ((one, ["--batch-size", 8]), (two, ["--batch-size", 4, "--devices", 2])):
        process = command_line("train", data, run, *words, *options)
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    started = make_teacher("test_efficientnet_gn", 2).state_dict()
    weights, others = read_weights(one), read_weights(two)
    moved = [float((value - started[name]).abs().max()) for name, value in weights.items()]
    assert max(moved) > 1e-3
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], atol=1e-4, rtol=1e-3, msg=name)
    for row, twin in zip(read_log(one), read_log(two), strict=True):
        assert row["val_nll"] == pytest.approx(twin["val_nll"], abs=1e-3)


@pytest.mark.parametrize("first", [True, False], ids=["the first", "the second"])
def test_when_one_of_two_processes_is_killed_the_other_says_so_and_both_can_go_on(first, data, tmp_path):
    run = tmp_path / "run"
    words = ["train", data, run, *AS_TEACHER, "--epochs", 60, "--batch-size", 2, "--devices", 2]
    process = command_line(*words)
    wait_until_kept(process, run, within_s=200)
    parent = psutil.Process(process.pid)
    (other,) = [one for one in parent.children() if "geocamnet" in " ".join(one.cmdline())]
    (parent if first else other).kill()
    _, errors = process.communicate(timeout=120)  # of both: they write to one pipe
    assert process.returncode != 0
    deadline = time.monotonic() + 30
    while not ended(other):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert re.search(r"process [01] of 2 lost the others.*start all again with --resume", errors, re.DOTALL), errors
    assert "Traceback" not in errors
    assert not (run / "card.json").exists()
    process = command_line(*words, "--resume")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert [row["epoch"] for row in read_log(run)] == list(range(1, 61))


# --- the losses ------------------------------------------------------------------------------------------


def fitting(labels="single", *, lessons=None, recipe=None, prior=None):
    torch.manual_seed(0)
    network = make_student(3, backbone="mobilenetv3_small_050").eval()  # batch statistics would couple photographs
    prior = np.full(3, 1 / 3) if prior is None else prior
    classes = ("foam", "oolite", "vug")
    module = Fitting(network, recipe or DistilRecipe(), classes=classes, labels=labels, prior=prior, lessons=lessons)
    module.log = lambda *_, **__: None
    return module


def batch_of(known, targets=None):
    torch.manual_seed(1)
    count = len(known)
    targets = F.one_hot(torch.arange(count) % 3, 3).float() if targets is None else targets
    return {
        "image": torch.rand(count, 3, 64, 64),
        "known": torch.tensor(known),
        "target": targets * torch.tensor(known)[:, None],
        "row": torch.arange(count),
        "teacher_logits": torch.randn(count, 2),
        "teacher_maps": torch.randn(count, 2, 2, 2),
    }


def gradient_of(module, batch):
    module.zero_grad()
    module.training_step(batch, 0).backward()
    return torch.cat([one.grad.flatten() for one in module.network.parameters() if one.grad is not None])


def test_a_photograph_without_a_label_trains_nothing_but_the_teachers_terms():
    alone = fitting(recipe=TrainRecipe())
    assert not gradient_of(alone, batch_of([False, False, False, False])).any()
    recipe = DistilRecipe()
    taught = fitting(lessons=Lessons(recipe, torch.tensor([1, 2])), recipe=recipe)
    gradient = gradient_of(taught, batch_of([False, False, False, False]))
    assert gradient.any()
    assert taught.sums["train_label_loss"] == [0.0]
    assert taught.sums["train_loss"][0] == pytest.approx(
        taught.sums["train_logit_loss"][0] + taught.sums["train_map_loss"][0]
    )


def test_the_labels_loss_is_that_of_the_photographs_whose_label_is_known():
    module = fitting(recipe=TrainRecipe(label_smoothing=0.0))
    batch = batch_of([True, False, True, False])
    loss = module.training_step(batch, 0)
    with torch.no_grad():
        logits = module.network(batch["image"]).logits[[0, 2]]
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.tensor([0, 2])))


def test_the_parts_of_the_loss_are_weighted_by_the_recipe():
    recipe = DistilRecipe(label_weight=0.5, logit_weight=3.0, map_weight=0.25)
    module = fitting(lessons=Lessons(recipe, torch.tensor([0, 2])), recipe=recipe)
    module.training_step(batch_of([True, True, False, True]), 0)
    parts = {name.removeprefix("train_"): value[0] for name, value in module.sums.items()}
    expected = 0.5 * parts["label_loss"] + 3 * parts["logit_loss"] + 0.25 * parts["map_loss"]
    assert parts["loss"] == pytest.approx(expected, rel=1e-5)


def test_mosaics_add_a_part_of_their_own_and_leave_the_others_as_they_were():
    plain = DistilRecipe()
    recipe = replace(plain, mosaic_weight=0.5)
    sums = []
    for one in (plain, recipe):
        module = fitting(lessons=Lessons(one, torch.tensor([0, 2])), recipe=one)
        module.training_step(batch_of([True, True, False, True, True]), 0)
        sums.append({name.removeprefix("train_"): value[0] for name, value in module.sums.items()})
    without, parts = sums
    for name in ("label_loss", "logit_loss", "map_loss"):  # stored maps know nothing of mosaics
        assert parts[name] == pytest.approx(without[name], rel=1e-4)
    assert parts["loss"] == pytest.approx(without["loss"] + 0.5 * parts["mosaic_loss"], rel=1e-4)


def test_maps_that_do_not_turn_along_add_a_part_of_their_own():
    sums = []
    for one in (DistilRecipe(), DistilRecipe(equivariance_weight=2.0)):
        module = fitting(lessons=Lessons(one, torch.tensor([0, 2])), recipe=one)
        module.training_step(batch_of([True, True, False, True]), 0)
        sums.append({name.removeprefix("train_"): value[0] for name, value in module.sums.items()})
    without, parts = sums
    assert parts["equivariance_loss"] > 0
    assert parts["loss"] == pytest.approx(without["loss"] + 2 * parts["equivariance_loss"], rel=1e-4)


def test_a_teacher_that_looks_itself_teaches_on_mosaics_too():
    torch.manual_seed(2)
    teacher = Teacher("test_resnet", 3).eval()
    seen = []
    recipe = DistilRecipe(mosaic_weight=1.0, teacher_maps="online", crop_px=64)
    module = fitting(lessons=Lessons(recipe, torch.arange(3), (OnLooker(teacher, 32),)), recipe=recipe)
    look = teacher.features
    teacher.features = lambda images: seen.append(images) or look(images)
    batch = batch_of([True] * 8)
    module.training_step(batch, 0)
    (images,) = seen
    assert len(images) == 8 + 2
    torch.testing.assert_close(images[:8], batch["image"], rtol=0, atol=0)


def test_several_teachers_teach_the_mean_of_what_they_say_class_by_class_and_cell_by_cell():
    recipe = DistilRecipe(teacher_maps="online", precision="fp32", crop_px=64, map_cells=4, detail_stride=16)
    torch.manual_seed(3)
    coarse, fine = Teacher("test_resnet", 3).eval(), make_student(3, output_stride=16).eval()
    order = torch.tensor([2, 0, 1])
    batch = batch_of([True] * 4)
    with torch.no_grad():
        one, other = coarse(batch["image"]), fine(batch["image"])
        assert one.class_maps.shape[2:] == (2, 2)
        assert other.class_maps.shape[2:] == (4, 4)
        # Cell i of either lies at i times its stride, so every second cell of the finer raster is one of the coarser's.
        between = F.interpolate(one.class_maps, size=(3, 3), mode="bilinear", align_corners=True)
        between = F.pad(between, (0, 1, 0, 1), mode="replicate")
        taught = Evidence((one.logits + other.logits[:, order]) / 2, (between + other.class_maps[:, order]) / 2)
    on_lookers = (OnLooker(coarse, 32), OnLooker(fine, 16, order))
    module = fitting(lessons=Lessons(recipe, torch.arange(3), on_lookers), recipe=recipe)
    said, features = module._taught_online(batch["image"], module._lessons[0])
    torch.testing.assert_close(said.logits, taught.logits)
    torch.testing.assert_close(said.class_maps, taught.class_maps)
    torch.testing.assert_close(features[-1], coarse.features(batch["image"]))


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_teacher_looks_at_the_scale_it_was_fitted_at(scale):
    recipe = DistilRecipe(teacher_maps="online", precision="fp32", crop_px=64, feature_weight=1.0, output_stride=16)
    torch.manual_seed(4)
    student, teacher = make_student(3, output_stride=16), Teacher("test_resnet", 3).eval()
    match = match_stages(student, teacher)
    batch = batch_of([True] * 4)
    lessons = Lessons(recipe, torch.arange(3), (OnLooker(teacher, 32, scale=scale),), match)
    module = Fitting(student, recipe, classes=list("abc"), labels="single", prior=np.full(3, 1 / 3), lessons=lessons)
    said, features = module._taught_online(batch["image"], lessons)
    side_px = round(64 * scale)
    with torch.no_grad():
        own = teacher(F.interpolate(batch["image"], size=(side_px, side_px), mode="bilinear", antialias=True))
    torch.testing.assert_close(said.logits, own.logits)
    # At twice the scale its cells of 32 px lie where the student's of 16 do, half a pixel aside; at half there is one.
    spread = float(own.class_maps.std())
    torch.testing.assert_close(said.class_maps, own.class_maps.expand(-1, -1, 4, 4), rtol=0, atol=0.1 * spread)
    assert [one.shape[2:] for one in features] == [one.shape[2:] for one in teacher.stages(batch["image"])]
    assert torch.isfinite(module.training_step(batch, 0))


@pytest.mark.parametrize(("crop_px", "scale"), [(160, 320 / 224), (224, 320 / 288), (224, 224 / 288), (64, 1.5)])
def test_features_of_a_teacher_at_another_scale_lie_where_those_of_the_crop_do(crop_px, scale):
    recipe = DistilRecipe(teacher_maps="online", precision="fp32", crop_px=crop_px, feature_weight=1.0)
    student, teacher = make_student(3), Teacher("test_resnet", 3).eval()
    lessons = Lessons(recipe, torch.arange(3), (OnLooker(teacher, 32, scale=scale),), match_stages(student, teacher))
    module = Fitting(student, recipe, classes=list("abc"), labels="single", prior=np.full(3, 1 / 3), lessons=lessons)
    images = torch.rand(1, 3, crop_px, crop_px)
    found = module._taught_online(images, lessons)[1]
    with torch.no_grad():
        expected = [tuple(one.shape) for one in teacher.stages(images)]
    assert [tuple(one.shape) for one in found] == expected


def test_the_mean_of_several_teachers_maps_goes_on_to_have_their_mean_logits_as_its_mean():
    maps = torch.randn(2, 2, 3, 4, 5)
    said = [Evidence(one.mean(dim=(2, 3)) + bias, one) for one, bias in zip(maps, (1, 3), strict=True)]
    mean = mean_evidence(said)
    torch.testing.assert_close(mean.logits, mean.class_maps.mean(dim=(2, 3)) + 2)


def test_a_teachers_class_is_compared_with_the_students_class_of_that_name():
    recipe = DistilRecipe(label_weight=0.0, map_weight=0.0)
    batch = batch_of([True, True])
    module = fitting(lessons=Lessons(recipe, torch.tensor([1, 2])), recipe=recipe)
    with torch.no_grad():
        module.network.class_bias.copy_(torch.tensor([0.0, 3.0, -3.0]))
        batch["teacher_logits"] = module.network(batch["image"]).logits[:, [1, 2]]
    assert module.training_step(batch, 0).item() == pytest.approx(0, abs=1e-6)
    module._lessons = (Lessons(recipe, torch.tensor([2, 1])),)
    assert module.training_step(batch, 0).item() > 1


def test_logit_adjustment_adds_the_log_prior_in_training():
    prior = np.array([0.7, 0.2, 0.1])
    module = fitting(recipe=TrainRecipe(balance="logit_adjust", label_smoothing=0.0), prior=prior)
    batch = batch_of([True, True, True])
    loss = module.training_step(batch, 0)
    with torch.no_grad():
        logits = module.network(batch["image"]).logits + torch.tensor(np.log(prior)).float()
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.tensor([0, 1, 2])))


def test_logit_adjustment_of_several_labels_adds_the_log_odds_of_each():
    share = np.array([0.5, 0.9, 0.1])
    module = fitting("multi", recipe=TrainRecipe(balance="logit_adjust", label_smoothing=0.0), prior=share)
    batch = batch_of([True, True], torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]))
    loss = module.training_step(batch, 0)
    with torch.no_grad():
        logits = module.network(batch["image"]).logits + torch.tensor(np.log(share / (1 - share))).float()
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, batch["target"]))


def test_the_share_of_several_labels_is_that_of_the_labelled_photographs(tmp_path, monkeypatch):
    data = write_data(tmp_path / "data", train={"oolite|vug": 2, "vug": 2, "": 4})
    seen = []
    monkeypatch.setattr(training_module, "Fitting", lambda *_, prior, **__: seen.append(prior) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(data, tmp_path / "run", replace(TEACHER, labels="multi"))
    np.testing.assert_allclose(seen[0], [0.5, 1.0])


def test_decoupled_distillation_sets_the_label_apart_where_it_is_known_and_taught():
    recipe = DistilRecipe(label_weight=0.0, map_weight=0.0, logit_loss="dkd", temperature=2.0)
    batch = batch_of([True, True, False, True])  # classes 0, 1, not known, 0; taught are 1 and 2
    batch["teacher_logits"] = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    module = fitting(lessons=Lessons(recipe, torch.tensor([1, 2])), recipe=recipe)
    loss = module.training_step(batch, 0)
    with torch.no_grad():
        logits = module.network(batch["image"]).logits[:, [1, 2]]
    torch.testing.assert_close(loss, dkd(logits, batch["teacher_logits"], torch.tensor([1, 0, 1, 0]), temperature=2.0))


def test_several_labels_are_each_a_question_of_yes_or_no():
    module = fitting("multi", recipe=TrainRecipe(label_smoothing=0.0))
    targets = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    batch = batch_of([True, True], targets)
    loss = module.training_step(batch, 0)
    with torch.no_grad():
        probabilities = module.network(batch["image"]).logits.sigmoid()
    slow = -(targets * probabilities.log() + (1 - targets) * (1 - probabilities).log()).mean()
    torch.testing.assert_close(loss, slow)


# --- small parts -----------------------------------------------------------------------------------------


def test_a_log_is_cut_where_a_resumed_run_takes_up(tmp_path):
    for epoch in (1, 2, 3):
        append_log(tmp_path / "log.csv", {"epoch": epoch, "train_loss": epoch / 10})
    append_log(tmp_path / "log.csv", {"epoch": 2, "train_loss": 0.75, "val_accuracy": 0.5})
    assert read_log(tmp_path) == [
        {"epoch": 1, "train_loss": 0.1},
        {"epoch": 2, "train_loss": 0.75, "val_accuracy": 0.5},
    ]


def test_as_many_processes_load_as_the_recipe_says():
    assert choose_workers(TrainRecipe(workers=3)) == 3
    assert choose_workers(TrainRecipe(workers=0)) == 0
    assert 0 <= choose_workers(TrainRecipe(workers=-1)) <= 8
