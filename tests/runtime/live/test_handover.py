"""From one thread to the next: the newest, or each in turn."""

import threading
import time

from geocamnet.runtime.live.handover import Handover


def test_the_newest_replaces_what_was_not_taken_and_is_counted():
    place = Handover()
    assert [place.put(number) for number in range(5)] == [True] * 5
    assert place.dropped == 4
    assert place.take(0) == 4
    assert place.take(0) is None
    assert place.dropped == 4


def test_without_loss_each_is_taken_in_turn():
    place, taken = Handover(lossless=True), []

    def give():
        for number in range(50):
            place.put(number)
        place.close()

    giver = threading.Thread(target=give)
    giver.start()
    while (one := place.take(5)) is not None:
        taken.append(one)
    giver.join(5)
    assert taken == list(range(50))
    assert place.dropped == 0
    assert place.is_over


def test_what_lies_there_when_it_is_closed_may_still_be_taken():
    place = Handover()
    place.put("last")
    place.close()
    assert not place.is_over
    assert place.put("later") is False
    assert place.take() == "last"
    assert place.take() is None
    assert place.is_over


def test_closing_wakes_whoever_waits_at_either_end():
    for lossless, wait in ((False, lambda place: place.take()), (True, lambda place: place.put(2))):
        place, answers = Handover(lossless=lossless), []
        if lossless:
            place.put(1)
        waiting = threading.Thread(target=lambda p=place, w=wait, a=answers: a.append(w(p)))
        waiting.start()
        time.sleep(0.05)
        place.close()
        waiting.join(5)
        assert answers in ([None], [False])
