"""Whether the stage stands, and whether the picture can be believed."""

import cv2
import numpy as np
import pytest

from geocamnet.runtime.live.stillness import STILL_AFTER_S, STUCK_AFTER_S, Stillness


@pytest.fixture
def rock():
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, (40, 60, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1)  # grains of 8 px, 320 x 480


def noisy(image, seed, deviation=6.0):
    return (image + np.random.default_rng(seed).normal(0, deviation, image.shape)).clip(0, 255).astype(np.uint8)


def looks(frames, *, seconds=0.1, live=True):
    judge, told = Stillness(), []
    for number, frame in enumerate(frames):
        judge.look(frame, number * seconds, live=live)
        told.append((judge.is_still, judge.note))
    return told


def test_noise_is_no_movement_and_standing_takes_a_moment(rock):
    told = [still for still, _ in looks(noisy(rock, seed) for seed in range(10))]
    moment = round(STILL_AFTER_S / 0.1)
    assert told == [False] * moment + [True] * (10 - moment)


def test_a_stage_that_moves_is_not_still_and_is_again_when_it_stops(rock):
    moving = [np.roll(rock, 24 * step, axis=1) for step in range(8)]
    told = [still for still, _ in looks([*moving, *(noisy(moving[-1], seed) for seed in range(10))])]
    assert not any(told[:8])
    assert told[-1]


def test_a_drift_too_slow_to_be_seen_from_one_frame_to_the_next_is_movement():
    grains = np.random.default_rng(1).integers(80, 176, (8, 12, 3), dtype=np.uint8)
    rock = cv2.resize(grains, (480, 320), interpolation=cv2.INTER_CUBIC)
    drift = [np.roll(rock, step, axis=1) for step in range(80)]
    assert looks([drift[0], *([drift[1]] * 8)], live=False)[4][0]  # a pixel alone is no movement
    assert sum(still for still, _ in looks(drift)) < 50


def test_another_size_is_a_movement(rock):
    told = [still for still, _ in looks([rock] * 6 + [rock[:160]] * 2, live=False)]
    assert told[5]
    assert not told[6]


@pytest.mark.parametrize("level", [0, 3])
def test_a_black_picture_is_told(level):
    assert looks([np.full((20, 30, 3), level, np.uint8)])[-1][1] == "black picture"
    assert looks([np.full((20, 30, 3), 40, np.uint8)])[-1][1] == ""


def test_a_live_picture_that_never_changes_is_told_and_a_films_is_not(rock):
    count = round(STUCK_AFTER_S / 0.1) + 2
    assert looks([rock.copy() for _ in range(count)])[-1][1] == "the picture has not changed"
    assert looks([rock.copy() for _ in range(count - 4)])[-1][1] == ""
    assert looks([rock.copy() for _ in range(count)], live=False)[-1][1] == ""
    assert looks([noisy(rock, seed) for seed in range(count)])[-1][1] == ""


def test_a_picture_of_one_pixel_is_looked_at():
    assert looks([np.full((1, 1, 3), 90, np.uint8)] * 2, live=False)[-1] == (False, "")
