import threading
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from geocamnet.errors import DataError
from geocamnet.images import read_image, scaled_size_hw
from geocamnet.train.dataset import PhotographDataset, SameSizeBatches, TrainingSampler, balanced_weights
from geocamnet.train.index import class_names, read_index
from geocamnet.train.recipes import AugmentRecipe


class RedAsMap:
    """Stored maps that are the photograph's own red channel, a cell every 8 px."""

    image_px, stride = 96, 8

    def __init__(self, data):
        self.data = data

    def class_maps(self, image):
        red = read_image(self.data / image)[..., 0].astype(np.float32)
        return cv2.blur(red, (9, 9))[None, ::8, ::8].astype(np.float16)

    def logits(self, image):
        return np.array([float(len(image))], np.float32)


@pytest.fixture(scope="module")
def rows(tiny_data):
    return read_index(tiny_data)


def crops(data, rows, **changes):
    options = {"classes": class_names(rows), "image_px": 96, "crop_px": 48, "seed": 3}
    return PhotographDataset(data, rows, **{**options, **changes})


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_an_item_is_fixed_by_its_key_whatever_was_read_before(tiny_data, rows):
    dataset, cached = crops(tiny_data, rows), crops(tiny_data, rows, cache_mb=10)
    first = dataset[5]
    for key in (7, 5 + len(rows), 0):
        dataset[key]
        cached[key]
    assert same(dataset[5], first)
    assert same(cached[5], first)
    assert same(cached[5], first)  # now from the cache


def test_another_epoch_photograph_or_seed_shows_another_crop(tiny_data, rows):
    dataset = crops(tiny_data, rows)
    here, next_epoch = dataset[5], dataset[5 + len(rows)]
    assert here["row"] == next_epoch["row"] == 5
    assert not torch.equal(here["image"], next_epoch["image"])
    assert not torch.equal(here["image"], crops(tiny_data, rows, seed=4)[5]["image"])


def test_loading_processes_give_the_same_items(tiny_data, rows):
    dataset = crops(tiny_data, rows)
    keys = [3, 9, 40, 2]
    loaded = DataLoader(dataset, batch_size=1, sampler=keys, num_workers=1)
    for key, item in zip(keys, loaded, strict=True):
        assert torch.equal(item["image"][0], dataset[key]["image"])


def test_a_batch_is_its_items_read_by_several_threads_at_once(tiny_data, rows, monkeypatch):
    keys = [3, 9, 3 + len(rows), 2]
    expected = [crops(tiny_data, rows)[key] for key in keys]
    meeting = threading.Barrier(2)

    def read_together(path):
        if path != tiny_data / rows[2].image:  # of three photographs one is left over
            meeting.wait(timeout=30)
        return read_image(path)

    monkeypatch.setattr("geocamnet.train.dataset.read_written", read_together)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    dataset = crops(tiny_data, rows, cache_mb=10)
    for _ in range(2):  # read, then from memory: a barrier that one thread alone met would break
        assert all(same(*pair) for pair in zip(dataset.__getitems__(keys), expected, strict=True))


def test_a_crop_is_a_float_image_with_its_labels(tiny_data, rows):
    item = crops(tiny_data, rows)[0]
    assert item["image"].shape == (3, 48, 48)
    assert item["image"].dtype == torch.float32
    assert item["image"].min() >= 0
    assert item["image"].max() <= 1
    assert item["target"].tolist() == [float(name in rows[0].labels) for name in class_names(rows)]
    assert bool(item["known"])


def test_a_whole_photograph_is_not_varied_and_keeps_its_shape(tiny_data, rows):
    whole = PhotographDataset(tiny_data, rows, classes=class_names(rows), image_px=96)
    for number in (0, 3):
        image = read_image(tiny_data / rows[number].image)
        found = (whole[number]["image"] * 255).round().byte().permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(found, image)
        assert torch.equal(whole[number]["image"], whole[number + len(rows)]["image"])
    half = PhotographDataset(tiny_data, rows, classes=(), image_px=48)
    assert half[0]["image"].shape == (3, 32, 48)
    assert half[3]["image"].shape == (3, 48, 32)
    assert half[0]["target"].shape == (0,)


def test_labels_outside_the_networks_classes_count_as_unknown(tiny_data, rows):
    two = PhotographDataset(tiny_data, rows, classes=("vug", "foam"), image_px=96)
    for number, row in enumerate(rows):
        assert two.known(number) == (row.labels in (("vug",), ("foam",)))
        assert two.target(number).tolist() == [row.labels == ("vug",), row.labels == ("foam",)]
    assert any(not row.labels for row in rows)


def test_a_photograph_with_one_foreign_label_among_several_is_unknown(tiny_data, rows):
    several = [replace(rows[0], labels=("foam", "vug")), replace(rows[0], labels=("foam", "ooid"))]
    dataset = PhotographDataset(tiny_data, several, classes=("foam", "vug"), image_px=96)
    assert [dataset.known(0), dataset.known(1)] == [True, False]
    assert dataset.target(1).tolist() == [1, 0]


def test_stored_maps_are_cropped_with_the_photograph(tiny_data, rows):
    plain = AugmentRecipe(stain=0, light=0, focus=0, noise=0, burn_in=0)
    coarse = [n for n, row in enumerate(rows) if row.labels == ("vug",)]  # whose grains are larger than a map's cell
    dataset = crops(tiny_data, rows, maps=RedAsMap(tiny_data), map_stride=8, recipe=plain)
    unrelated = []
    for number in coarse:
        item = dataset[number]
        red = cv2.blur(item["image"][0].numpy() * 255, (9, 9))[::8, ::8]
        maps = item["teacher_maps"][0].numpy()
        assert maps.shape == (6, 6)
        red, maps = red[1:, 1:], maps[1:, 1:]  # at the crop's edge the one sees what the other does not
        assert np.corrcoef(red.ravel(), maps.ravel())[0, 1] > 0.75
        unrelated.append(np.corrcoef(np.rot90(red).ravel(), maps.ravel())[0, 1])
        assert item["teacher_logits"].tolist() == [len(rows[number].image)]
    assert np.mean(unrelated) < 0.5


def test_a_photograph_that_is_gone_is_an_error_that_names_it(tmp_path, rows):
    with pytest.raises(DataError, match=r"000\.png"):
        crops(tmp_path, rows)[0]


@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 9), st.integers(0, 4))
def test_the_sampler_shows_every_photograph_once_and_no_two_processes_the_same(count, world, seed, epoch):
    parts = []
    for rank in range(world):
        sampler = TrainingSampler(count, seed=seed, rank=rank, world=world)
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert len(keys) == len(sampler)
        assert {key // count for key in keys} == {epoch}
        parts.append([key % count for key in keys])
    assert len({len(part) for part in parts}) == 1
    shown = Counter(key for part in parts for key in part)
    assert set(shown) == set(range(count))
    assert sum(shown.values()) - count == -count % world  # only what evens the parts out is shown again
    if count % world == 0:
        assert set(shown.values()) == {1}


def test_the_order_changes_with_epoch_and_seed_and_nothing_else():
    def order(seed, epoch):
        sampler = TrainingSampler(40, seed=seed)
        sampler.set_epoch(epoch)
        return [key % 40 for key in sampler]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_balanced_weights_show_every_class_equally_often():
    rng = np.random.default_rng(0)
    ids = rng.choice(4, size=300, p=(0.7, 0.2, 0.07, 0.03))
    targets = np.eye(4, dtype=np.float32)[ids]
    weights = balanced_weights(targets, np.ones(300, bool))
    shares = np.array([weights[ids == one].sum() for one in range(4)]) / weights.sum()
    np.testing.assert_allclose(shares, 0.25, rtol=1e-5)
    sampler = TrainingSampler(300, seed=0, weights=weights)
    drawn = Counter()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        drawn.update(ids[key % 300] for key in sampler)
    np.testing.assert_allclose([drawn[one] / 6000 for one in range(4)], 0.25, atol=0.03)


def test_photographs_without_a_known_label_keep_their_share():
    targets = np.array([[1, 0]] * 8 + [[0, 1]] * 2 + [[0, 0]] * 5 + [[0, 1]] * 5, np.float32)
    known = np.array([True] * 10 + [False] * 10)
    weights = balanced_weights(targets, known)
    np.testing.assert_allclose(weights[10:].sum() / weights.sum(), 0.5, rtol=1e-6)
    np.testing.assert_allclose(weights[:8].sum(), weights[8:10].sum(), rtol=1e-6)
    np.testing.assert_array_equal(balanced_weights(targets, np.zeros(20, bool)), 1)


def test_a_photograph_of_several_classes_counts_for_its_rarest():
    targets = np.array([[1, 0]] * 9 + [[1, 1]], np.float32)
    weights = balanced_weights(targets, np.ones(10, bool))
    assert weights[9] == pytest.approx(10 * weights[0])


@given(st.lists(st.sampled_from([(64, 96), (96, 64), (64, 64)]), max_size=40), st.integers(1, 7), st.integers(1, 3))
def test_batches_hold_one_size_and_every_photograph_once(sizes, batch_size, world):
    seen = []
    for rank in range(world):
        batches = SameSizeBatches(sizes, batch_size=batch_size, rank=rank, world=world)
        assert len(batches) == len(list(batches))
        for batch in batches:
            assert 1 <= len(batch) <= batch_size
            assert len({sizes[number] for number in batch}) == 1
            seen.extend(batch)
    assert sorted(seen) == list(range(len(sizes)))


def test_whole_photographs_of_two_shapes_load_in_batches(tiny_data, rows):
    dataset = PhotographDataset(tiny_data, rows, classes=class_names(rows), image_px=50)
    sizes = [scaled_size_hw((row.height_px, row.width_px), 50) for row in rows]
    assert len(set(sizes)) == 2
    shapes = [
        tuple(batch["image"].shape) for batch in DataLoader(dataset, batch_sampler=SameSizeBatches(sizes, batch_size=8))
    ]
    assert sum(shape[0] for shape in shapes) == len(rows)
    assert {shape[2:] for shape in shapes} == set(sizes)
