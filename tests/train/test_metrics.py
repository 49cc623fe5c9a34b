import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    top_k_accuracy_score,
)

from geocamnet.errors import DataError
from geocamnet.train.metrics import (
    bootstrap_interval,
    choose_abstention,
    classification_metrics,
    coverage_accuracy,
    fit_temperature,
    group_metrics,
    macro_f1_thresholds,
)


def drawn(n=300, classes=7, seed=0, sharpness=2.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * sharpness
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = np.array([rng.choice(classes, p=row) for row in probabilities])
    return logits, probabilities, targets


NAMES = [f"class_{i}" for i in range(7)]


def test_single_label_figures_equal_those_of_scikit_learn():
    _, probabilities, targets = drawn()
    figures = classification_metrics(probabilities, targets, NAMES)
    said = probabilities.argmax(1)
    assert figures["accuracy"] == pytest.approx((said == targets).mean())
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(targets, said))
    assert figures["macro_f1"] == pytest.approx(f1_score(targets, said, average="macro"))
    assert figures["top5_accuracy"] == pytest.approx(top_k_accuracy_score(targets, probabilities, k=5))
    assert figures["nll"] == pytest.approx(log_loss(targets, probabilities))
    assert figures["confusion"] == confusion_matrix(targets, said).tolist()
    json.dumps(figures, allow_nan=False)


def test_brier_and_calibration_error_equal_their_formulas_written_as_loops():
    _, probabilities, targets = drawn(n=120)
    figures = classification_metrics(probabilities, targets, NAMES)
    brier = sum((p - (c == y)) ** 2 for row, y in zip(probabilities, targets, strict=True) for c, p in enumerate(row))
    assert figures["brier"] == pytest.approx(brier / 120)
    error = 0.0
    for m in range(15):
        inside = [i for i in range(120) if m / 15 < probabilities[i].max() <= (m + 1) / 15]
        if inside:
            confidence = np.mean([probabilities[i].max() for i in inside])
            accuracy = np.mean([probabilities[i].argmax() == targets[i] for i in inside])
            error += len(inside) / 120 * abs(confidence - accuracy)
    assert figures["calibration_error"] == pytest.approx(error)
    assert sum(one["n"] for one in figures["calibration"]) == 120


def test_a_class_that_the_test_lacks_does_not_count_against_balanced_accuracy():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    figures = classification_metrics(probabilities, [0, 1], ["a", "b", "c"])
    assert figures["balanced_accuracy"] == 1
    assert figures["macro_f1"] == 1
    assert figures["per_class"]["c"] == {"precision": None, "recall": None, "f1": None, "support": 0}


def test_a_single_class_gives_figures_and_not_an_error():
    figures = classification_metrics(np.ones((3, 1)), [0, 0, 0], ["oolite"])
    assert figures["accuracy"] == figures["balanced_accuracy"] == 1
    assert figures["nll"] == 0


@pytest.mark.parametrize(
    ("probabilities", "targets", "says"),
    [
        (np.zeros((0, 2)), [], "No photograph"),
        ([[0.5, 0.5]], [0, 1], "don't fit"),
        ([[0.5, 0.5]], [2], "0 to 1"),
        ([[np.nan, 0.5]], [0], "not finite"),
        ([[0.2, 0.3, 0.5]], [0], "class names"),
    ],
)
def test_what_can_not_be_judged_is_refused_with_words(probabilities, targets, says):
    with pytest.raises(DataError, match=says):
        classification_metrics(probabilities, targets, ["a", "b"])


def test_several_labels_give_mean_average_precision_and_f1_like_scikit_learn():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, (200, 4))
    truth[:, 3] = 0
    probabilities = np.clip(0.6 * truth + 0.5 * rng.random((200, 4)), 0, 1)
    thresholds = np.array([0.4, 0.5, 0.6, 0.5])
    figures = classification_metrics(probabilities, truth, list("abcd"), thresholds=thresholds)
    said = probabilities >= thresholds
    assert figures["mAP"] == pytest.approx(average_precision_score(truth[:, :3], probabilities[:, :3]))
    assert figures["macro_f1"] == pytest.approx(f1_score(truth[:, :3], said[:, :3], average="macro"))
    assert figures["micro_f1"] == pytest.approx(f1_score(truth, said, average="micro", zero_division=0))
    assert figures["per_class"]["d"]["ap"] is None


def test_temperature_that_was_put_in_comes_out_again():
    logits, _, targets = drawn(n=4000, classes=5)
    for factor in (0.5, 1.0, 3.0):
        assert fit_temperature(logits * factor, targets) == pytest.approx(factor, rel=0.08)


def test_temperature_of_several_labels_comes_out_again():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(3000, 3)) * 2
    truth = (rng.random((3000, 3)) < 1 / (1 + np.exp(-logits))).astype(int)
    assert fit_temperature(logits * 2.5, truth) == pytest.approx(2.5, rel=0.1)


def test_temperature_is_at_the_minimum_of_a_grid():
    logits, _, targets = drawn(n=2000, classes=4, seed=5)
    logits = logits * 2

    def nll(t):
        z = logits / t
        z = z - np.log(np.exp(z).sum(1, keepdims=True))
        return -z[np.arange(len(targets)), targets].mean()

    grid = np.exp(np.linspace(np.log(0.2), np.log(10), 800))
    assert fit_temperature(logits, targets) == pytest.approx(grid[np.argmin([nll(t) for t in grid])], rel=0.03)


def test_a_faultless_validation_set_does_not_drive_the_temperature_to_its_end():
    logits = np.eye(3)[np.arange(30) % 3] * 5.0
    assert 0.5 < fit_temperature(logits, np.arange(30) % 3) < 3


def test_abstention_keeps_as_many_as_reach_the_accuracy():
    top = np.array([0.95, 0.9, 0.85, 0.8, 0.6, 0.55])
    right = np.array([1, 1, 1, 1, 0, 0])
    probabilities = np.stack([top, 1 - top], axis=1)
    threshold = choose_abstention(probabilities, 1 - right, min_accuracy=0.95)
    assert 0.6 < threshold < 0.8
    assert choose_abstention(probabilities, np.zeros(6, int)) == 0.0


def test_abstention_that_can_not_reach_the_accuracy_takes_the_best_it_can_have():
    top = np.linspace(0.95, 0.55, 20)
    wrong = np.array([1] + [0, 0, 1] * 3 + [1] * 10)  # the surest one is wrong
    probabilities = np.stack([top, 1 - top], axis=1)
    threshold = choose_abstention(probabilities, wrong, min_accuracy=0.99, min_coverage=0.2)
    kept = top >= threshold
    assert kept.mean() >= 0.2
    best = max((wrong[:k] == 0).mean() for k in range(4, 21))
    assert (wrong[kept] == 0).mean() == pytest.approx(best)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(0, 1000), st.floats(0.3, 1.0))
def test_abstention_agrees_with_trying_every_threshold(n, seed, wanted):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(3), n).round(2)
    targets = rng.integers(0, 3, n)
    top, right = probabilities.max(1), probabilities.argmax(1) == targets
    threshold = choose_abstention(probabilities, targets, min_accuracy=wanted, min_coverage=0.2)
    kept = top >= threshold
    tried = [(right[top >= t].mean(), (top >= t).mean()) for t in np.unique(top) if (top >= t).mean() >= 0.2]
    reaching = [coverage for accuracy, coverage in tried if accuracy >= wanted]
    if reaching:
        assert kept.mean() == pytest.approx(max(reaching))
    else:
        assert right[kept].mean() == pytest.approx(max(accuracy for accuracy, _ in tried))


def test_coverage_ends_with_everything_kept():
    _, probabilities, targets = drawn(n=101)
    points = coverage_accuracy(probabilities, targets)
    assert points[-1]["coverage"] == 1
    assert points[-1]["accuracy"] == pytest.approx((probabilities.argmax(1) == targets).mean())
    coverages = [one["coverage"] for one in points]
    assert coverages == sorted(coverages)
    for one in points:
        kept = probabilities.max(1) >= one["threshold"]
        assert kept.mean() == pytest.approx(one["coverage"])
        assert (probabilities.argmax(1) == targets)[kept].mean() == pytest.approx(one["accuracy"])


def test_thresholds_are_as_good_as_the_best_of_every_one_tried():
    rng = np.random.default_rng(3)
    truth = (rng.random((80, 3)) < 0.3).astype(int)
    truth[:, 2] = 0
    probabilities = np.clip(0.4 * truth + rng.random((80, 3)) * 0.7, 0, 1).round(2)
    thresholds = macro_f1_thresholds(probabilities, truth)
    assert thresholds[2] == 0.5
    for c in (0, 1):
        best = max(f1_score(truth[:, c], probabilities[:, c] >= t) for t in np.unique(probabilities[:, c]))
        assert f1_score(truth[:, c], probabilities[:, c] >= thresholds[c]) == pytest.approx(best)


def test_interval_of_photographs_of_few_sections_is_wider():
    rng = np.random.default_rng(0)
    sections = np.repeat(np.arange(20), 20)
    right = (rng.random(20) < 0.7)[sections]
    targets = rng.integers(0, 2, 400)
    said = np.where(right, targets, 1 - targets)
    by_photograph = bootstrap_interval(said, targets, n_classes=2)["accuracy"]
    by_section = bootstrap_interval(said, targets, n_classes=2, groups=[str(s) for s in sections])["accuracy"]
    assert by_section[1] - by_section[0] > 2 * (by_photograph[1] - by_photograph[0])
    low, high = by_photograph
    assert low < right.mean() < high


def test_interval_is_the_same_for_the_same_seed_and_refuses_nothing_to_draw_from():
    _, probabilities, targets = drawn(n=50)
    first = bootstrap_interval(probabilities.argmax(1), targets, n_classes=7, seed=4)
    assert first == bootstrap_interval(probabilities.argmax(1), targets, n_classes=7, seed=4)
    with pytest.raises(DataError, match="No photograph"):
        bootstrap_interval([], [], n_classes=2)
    with pytest.raises(DataError, match="don't match"):
        bootstrap_interval([0], [0, 1], n_classes=2)


# --- groups ----------------------------------------------------------------------------------------------


def test_a_class_taken_for_another_of_its_group_is_right_by_group():
    names = ["fine_crystalline_dolomite", "coarse_crystalline_dolomite", "vug"]
    said = np.array([[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.4, 0.3, 0.3], [0.1, 0.2, 0.7]])
    truth = np.array([0, 1, 2, 2])  # one wrong within its group, one beyond it, one taken for the sum of two
    figures = group_metrics(said, truth, names)
    assert (figures["n"], figures["accuracy"], figures["balanced_accuracy"]) == (4, 0.5, 0.5)
    assert figures["per_group"]["dolostone"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2, "classes": 2}


def test_groups_that_say_no_more_than_the_classes_are_left_out():
    said, truth = np.eye(2), np.array([0, 1])
    assert group_metrics(said, truth, ["vug", "fracture"]) == {}  # one group
    assert group_metrics(said, truth, ["vug", "oolite"]) == {}  # a group each
