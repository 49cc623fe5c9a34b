"""The light that names tell, and the view that is left without it."""

import pytest

from geocamnet.lights import before_light, light_of, light_of_folder, light_of_path, view_of


@pytest.mark.parametrize(
    ("name", "light", "rest"),
    [
        ("oolite_003_PPL", "PPL", "oolite_003"),
        ("ppl.3", "PPL", "3"),
        ("a plane-polarised light 2", "PPL", "a 2"),
        ("a_crossed", "XPL", "a"),
        ("a_CPL", "XPL", "a"),
        ("样品3单偏光", "PPL", "样品3"),
        ("正交光_3", "XPL", "3"),
        ("3_反射光", "R", "3"),
        ("reflected-7", "R", "7"),
        ("apply_explain", "", "apply_explain"),
        ("cross-section_3", "", "cross-section_3"),
        ("a_PPL_XPL", "", "a_PPL_XPL"),
    ],
)
def test_the_light_is_told_by_whole_words_only(name, light, rest):
    assert light_of(name) == (light, rest)


def test_folders_of_lights_are_told_from_folders_of_classes():
    assert light_of_folder("R") == ("R", "")
    assert light_of_folder("XPL-1223") == ("XPL", "")
    assert light_of_folder("oolite PPL") == ("PPL", "oolite")
    assert light_of_folder("reef") == ("", "reef")


@pytest.mark.parametrize(
    ("path", "light", "view"),
    [
        ("oolite/a1_PPL.jpg", "PPL", "oolite/a1"),
        ("XPL/oolite/a1.jpg", "XPL", "oolite/a1"),
        ("oolite/XPL/a1.png", "XPL", "oolite/a1"),
        ("oolite/a1 crossed nicols.tif", "XPL", "oolite/a1"),
        ("正交偏光/a1.jpg", "XPL", "a1"),
        ("R/a1.jpg", "R", "a1"),
        ("oolite/a1.jpg", "", "oolite/a1"),
        ("PPL/a1_XPL.jpg", "", "a1"),
        ("PPL.jpg", "PPL", ""),
    ],
)
def test_the_light_and_the_view_of_a_path(path, light, view):
    assert (light_of_path(path), view_of(path)) == (light, view)


def test_what_stands_before_the_light():
    assert before_light("fine dolomite 3_PPL_b") == "fine dolomite 3_"
    assert before_light("apply") == "apply"
