"""Sections are dealt whole, each class in its share, whatever the order they come in."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocamnet.errors import DataError
from geocamnet.train.split import fold_sections, join_sections, split_sections, stratify

SPLITS = ("train", "val", "test")
_shares = st.sampled_from([(0.15, 0.2), (0.1, 0.1), (0.3, 0.3), (0.02, 0.02), (0.25, 0.5)])
_single = st.lists(st.sampled_from("abcde"), min_size=1, max_size=60).map(
    lambda labels: {f"s{number}": [label] for number, label in enumerate(labels)}
)
_multi = st.lists(st.lists(st.sampled_from("abcde"), max_size=3), min_size=1, max_size=60).map(
    lambda labels: {f"s{number}": names for number, names in enumerate(labels)}
)


def held(labels_of, part_of):
    """Counter of (label, part), counted one by one."""
    return Counter((label, part_of[section]) for section, names in labels_of.items() for label in set(names))


@given(labels_of=_single, shares=_shares, seed=st.integers(0, 5))
def test_a_class_of_three_sections_or_more_is_in_every_split(labels_of, shares, seed):
    split = split_sections(labels_of, val_share=shares[0], test_share=shares[1], seed=seed)
    counts = held(labels_of, split.split_of)
    for label, members in Counter(names[0] for names in labels_of.values()).items():
        assert all(counts[label, name] for name in SPLITS) == (members >= 3)
        assert any(f"'{label}'" in note for note in split.notes) == (members < 3)


@given(labels_of=_multi, shares=_shares, seed=st.integers(0, 5))
def test_with_several_labels_a_class_missing_from_a_split_is_told(labels_of, shares, seed):
    split = split_sections(labels_of, val_share=shares[0], test_share=shares[1], seed=seed)
    assert set(split.split_of) == set(labels_of)
    counts = held(labels_of, split.split_of)
    for label in {label for names in labels_of.values() for label in names}:
        missing = [name for name in SPLITS if not counts[label, name]]
        told = [note for note in split.notes if f"'{label}'" in note]
        assert len(told) == bool(missing)
        assert all(f"none in {name}" in told[0] for name in missing)


@given(labels_of=_multi, seed=st.integers(0, 5), order=st.randoms(use_true_random=False))
def test_the_order_of_the_sections_changes_nothing(labels_of, seed, order):
    shuffled = list(labels_of.items())
    order.shuffle(shuffled)
    first = split_sections(labels_of, val_share=0.2, test_share=0.2, seed=seed)
    again = split_sections(dict(shuffled), val_share=0.2, test_share=0.2, seed=seed)
    assert first == again


def test_another_seed_deals_otherwise():
    labels_of = {f"s{number}": ["ab"[number % 2]] for number in range(40)}
    dealt = {str(split_sections(labels_of, val_share=0.2, test_share=0.2, seed=seed)) for seed in range(5)}
    assert len(dealt) == 5


def test_shares_are_met_in_all_and_in_each_class_and_for_the_unlabelled():
    sizes = {"a": 200, "b": 60, "c": 20, "": 100}
    labels_of = {f"{label}{n}": [label] if label else [] for label, size in sizes.items() for n in range(size)}
    split = split_sections(labels_of, val_share=0.15, test_share=0.2, seed=3)
    shares = {"train": 0.65, "val": 0.15, "test": 0.2}
    for label, size in sizes.items():
        counts = Counter(part for section, part in split.split_of.items() if section.rstrip("0123456789") == label)
        for name, share in shares.items():
            assert abs(counts[name] - size * share) <= 1
    assert split.notes == ()


def test_several_labels_are_spread_better_than_by_chance():
    labels_of = {
        f"s{n}": [label for label, every in (("a", 2), ("b", 3), ("c", 7), ("d", 13)) if n % every == 0]
        for n in range(300)
    }
    counts = held(labels_of, stratify(labels_of, [0.8, 0.2], seed=0))
    for label in "abcd":
        members = counts[label, 0] + counts[label, 1]
        assert abs(counts[label, 1] - 0.2 * members) <= 1.5


def test_a_split_of_share_0_stays_empty_and_is_not_missed():
    labels_of = {f"s{n}": ["a"] for n in range(10)}
    split = split_sections(labels_of, val_share=0.2, test_share=0, seed=0)
    assert Counter(split.split_of.values()) == {"train": 8, "val": 2}
    assert split.notes == ()


def test_a_single_section_trains_and_the_empty_splits_are_told():
    split = split_sections({"s": ["a"]}, val_share=0.15, test_share=0.2, seed=0)
    assert split.split_of == {"s": "train"}
    assert "val and test stay empty" in split.notes[-1]


def test_splits_that_raw_has_are_kept_and_a_missing_one_is_drawn_from_train():
    labels_of = {f"s{n}": ["ab"[n % 2]] for n in range(40)}
    kept = {f"s{n}": "test" if n < 10 else "train" for n in range(40)}
    split = split_sections(labels_of, val_share=0.2, test_share=0.2, seed=0, kept=kept)
    assert {section for section, name in split.split_of.items() if name == "test"} == {f"s{n}" for n in range(10)}
    assert 6 <= Counter(split.split_of.values())["val"] <= 9  # 0.2 of 0.8, of 30
    assert "no val photographs" in split.notes[0]


def test_splits_that_raw_has_completely_are_kept_as_they_are_and_the_rest_trains():
    labels_of = {f"s{n}": ["a"] for n in range(9)}
    kept = {"s0": "train", "s1": "val", "s2": "test"}
    split = split_sections(labels_of, val_share=0.2, test_share=0.2, seed=0, kept=kept)
    assert Counter(split.split_of.values()) == {"train": 7, "val": 1, "test": 1}
    assert {name: split.split_of[name] for name in kept} == kept


def test_impossible_shares_and_splits_are_errors():
    for val_share, test_share in ((0.5, 0.5), (-0.1, 0.2), (0.2, float("nan"))):
        with pytest.raises(DataError, match="--val-share"):
            split_sections({"s": ["a"]}, val_share=val_share, test_share=test_share, seed=0)
    with pytest.raises(DataError, match="Did you mean 'train'"):
        split_sections({"s": ["a"]}, val_share=0.1, test_share=0.1, seed=0, kept={"s": "trian"})


@given(labels_of=_multi, folds=st.integers(3, 6), seed=st.integers(0, 3))
def test_folds_differ_little_in_size_and_hold_every_section_once(labels_of, folds, seed):
    if len(labels_of) < folds:
        with pytest.raises(DataError, match="sections or more"):
            fold_sections(labels_of, folds=folds, seed=seed)
        return
    fold_of = fold_sections(labels_of, folds=folds, seed=seed)
    assert set(fold_of) == set(labels_of)
    assert set(fold_of.values()) <= set(range(folds))


def test_each_class_is_spread_evenly_over_the_folds():
    labels_of = {f"s{n}": ["abc"[n % 3]] for n in range(60)}
    counts = held(labels_of, fold_sections(labels_of, folds=5, seed=1))
    assert {counts[label, fold] for label in "abc" for fold in range(5)} == {4}


def test_fewer_than_three_folds_are_refused():
    with pytest.raises(DataError, match="3 or more"):
        fold_sections({f"s{n}": ["a"] for n in range(9)}, folds=2, seed=0)


def test_sections_that_share_a_tie_become_one_named_as_the_first():
    joined = join_sections(["b", "a", "c", "d", "d"], [["x"], ["x", "y"], ["z"], ["y"], ["w"]])
    assert joined == ["a", "a", "c", "a", "a"]


@given(photographs=st.lists(st.tuples(st.integers(0, 8), st.lists(st.integers(0, 8), max_size=2)), max_size=20))
def test_joined_sections_are_the_connected_ones(photographs):
    sections = [f"s{number}" for number, _ in photographs]
    ties = [tied for _, tied in photographs]
    joined = join_sections(sections, ties)
    groups = [({section}, set(tied)) for section, tied in zip(sections, ties, strict=True)]
    changed = True
    while changed:  # slow and obvious: merge any two groups with something in common, until none has
        changed = False
        for first in range(len(groups)):
            for second in range(first + 1, len(groups)):
                if groups[first][0] & groups[second][0] or groups[first][1] & groups[second][1]:
                    groups[first] = (groups[first][0] | groups[second][0], groups[first][1] | groups[second][1])
                    del groups[second]
                    changed = True
                    break
            if changed:
                break
    name_of = {section: min(members) for members, _ in groups for section in members}
    assert joined == [name_of[section] for section in sections]
