"""The hash of a turned photograph is read off the same frequencies; pairs come without comparing all with all."""

import cv2
import numpy as np
import pytest

from drawn import jpeg, rock
from geocamnet.train.audit.hashes import ATTITUDES, correlate, propose, recognisable, turned


def thumb(image):
    return cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("attitude", range(8))
def test_every_attitude_is_proposed_and_named(attitude):
    image = rock(5, (96, 96))
    other = jpeg(np.ascontiguousarray(turned(image[None, ..., 0], attitude)[0])[..., None].repeat(3, 2), 50)
    thumbs = np.stack([thumb(image[..., :1].repeat(3, 2)), thumb(rock(6)), thumb(other)])
    pairs, attitudes = propose(thumbs)
    assert (pairs.tolist(), attitudes.tolist()) == ([[0, 2]], [attitude])
    assert correlate(thumbs, pairs, attitudes)[0] > 0.98


def test_the_eight_attitudes_are_those_of_the_square():
    image = np.arange(9).reshape(1, 3, 3)
    made = {turned(image, place).tobytes() for place in range(8)}
    expected = {np.rot90(one, k).tobytes() for one in (image[0], image[0].T) for k in range(4)}
    assert len(ATTITUDES) == 8
    assert made == expected


def test_many_unlike_photographs_give_no_pair_and_as_many_copies_as_were_made():
    thumbs = np.stack([thumb(rock(seed, (64, 48))) for seed in range(400)])
    pairs, attitudes = propose(thumbs)
    assert (correlate(thumbs, pairs, attitudes) < 0.9).all()
    twice = np.concatenate([thumbs, thumbs[:50]])
    pairs, attitudes = propose(twice)
    sure = pairs[correlate(twice, pairs, attitudes) > 0.9]
    assert sure.tolist() == [[k, 400 + k] for k in range(50)]


def test_the_spot_of_a_lamp_makes_no_photograph_recognisable():
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    spot = (200 - 60 * (x**2 + y**2)).astype(np.uint8)
    thumbs = np.stack([spot, np.full((32, 32), 9, np.uint8), thumb(rock(1))])
    assert recognisable(thumbs).tolist() == [False, False, True]
