"""Heat that goes by the place is told from heat that goes by the rock."""

import numpy as np
import pytest

from geocamnet.train.places import LEAST_PHOTOGRAPHS, Places, prefers_a_place


def blobs(rng, count, *, where=None, shape=(9, 12)):
    """Heatmaps with one hot blob each, anywhere or always at a place."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    for _ in range(count):
        cy, cx = where or (rng.uniform(0, shape[0]), rng.uniform(0, shape[1]))
        down, across = ((d + size / 2) % size - size / 2 for d, size in ((y - cy, shape[0]), (x - cx, shape[1])))
        yield np.exp(-(down**2 + across**2) / 4)  # around the edges, or they would be colder than the middle


def places_of(heats):
    places = Places()
    for heat in heats:
        places.add(heat)
    return places


def test_heat_that_lies_anywhere_prefers_no_place():
    found = places_of(blobs(np.random.default_rng(0), 400)).figures()
    assert found["photographs"] == 400
    assert found["hottest"] < 1.4
    assert found["hottest_by_chance"] == pytest.approx(found["hottest"], abs=0.2)
    assert not prefers_a_place(found)


@pytest.mark.parametrize("where", [(4, 6), (0, 0), (8, 3)])
def test_heat_always_at_one_place_is_found_out_even_in_the_middle(where):
    found = places_of(blobs(np.random.default_rng(0), 60, where=where)).figures()
    assert found["hottest"] > 3
    assert prefers_a_place(found)


def test_half_of_it_always_at_one_place_is_found_out():
    rng = np.random.default_rng(1)
    heats = [(one + other) / 2 for one, other in zip(blobs(rng, 80), blobs(rng, 80, where=(4, 4)), strict=True)]
    assert prefers_a_place(places_of(heats).figures())


def test_even_heat_prefers_no_place_at_all():
    found = places_of([np.full((4, 5), 0.3)] * LEAST_PHOTOGRAPHS).figures()
    assert found["hottest"] == pytest.approx(1)
    assert found["hottest_by_chance"] == pytest.approx(1)


def test_the_commonest_shape_counts_and_too_few_or_no_heat_tell_nothing():
    rng = np.random.default_rng(0)
    mixed = [*blobs(rng, 25), *blobs(rng, 10, shape=(12, 9))]
    assert places_of(mixed).figures()["photographs"] == 25
    assert places_of(blobs(rng, LEAST_PHOTOGRAPHS - 1)).figures() is None
    assert places_of([np.zeros((3, 3))] * 50).figures() is None
    assert places_of([]).figures() is None
    assert not prefers_a_place(None)
