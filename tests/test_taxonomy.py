"""The 22 classes: names found by every spelling, no spelling claimed twice, own classes kept."""

import pytest

from geocamnet.errors import DataError
from geocamnet.taxonomy import CLASSES, GROUPS, canonical_name, describe_classes, find_class, group_of


def test_there_are_22_classes_numbered_in_order_with_names_of_their_own():
    assert [rock.id for rock in CLASSES] == list(range(1, 23))
    assert len({rock.name for rock in CLASSES}) == 22
    assert len({rock.colour_rgb for rock in CLASSES}) == 22
    assert {rock.group for rock in CLASSES} == set(GROUPS)


@pytest.mark.parametrize("rock", CLASSES, ids=lambda rock: rock.name)
def test_every_spelling_of_a_class_leads_to_it(rock):
    for spelling in (rock.name, rock.title, rock.chinese, *rock.aliases):
        for written in (spelling, spelling.upper(), f"  {spelling} ", spelling.replace(" ", "_")):
            assert canonical_name(written) == rock.name
            assert find_class(written) is rock


def test_no_spelling_belongs_to_two_classes():
    spellings = [
        " ".join(spelling.lower().replace("-", " ").replace("_", " ").split())
        for rock in CLASSES
        for spelling in {rock.name.replace("_", " "), rock.title.lower().replace("-", " "), rock.chinese, *rock.aliases}
    ]
    assert len(spellings) == len(set(spellings))


def test_a_name_of_ones_own_is_kept_in_the_spelling_of_an_index():
    assert canonical_name(" Argillaceous  Limestone") == "argillaceous_limestone"
    assert canonical_name("argillaceous-limestone") == "argillaceous_limestone"
    assert canonical_name("泥灰岩") == "泥灰岩"
    assert canonical_name(canonical_name("My Own-Class")) == "my_own_class"


def test_the_same_letters_in_another_code_are_the_same_name():
    assert canonical_name("dolomi\u0301a") == canonical_name("dolom\u00eda")  # as a Mac stores it
    assert canonical_name("Ｏｏｌｉｔｅ") == "oolite"  # full-width, from a Chinese keyboard


def test_deepcarbonates_numbers_find_their_class():
    assert find_class("class1").name == "arenaceous"
    assert find_class("class22").name == "vug"


def test_an_unknown_class_is_an_error_that_names_the_likely_one():
    with pytest.raises(DataError, match=r"'Oolit'.*Did you mean 'oolite'"):
        find_class("Oolit")
    with pytest.raises(DataError, match="class23"):
        find_class("class23")


def test_classes_are_described_in_order_and_own_ones_get_a_title_and_colours_that_differ():
    described = describe_classes(["vug", "my_rock", "other_rock"])
    assert [one.name for one in described] == ["vug", "my_rock", "other_rock"]
    assert described[0].id == 22
    assert (described[1].id, described[1].title) == (0, "My rock")
    assert len({one.colour_rgb for one in described}) == 3


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Coarse crystaline dolostone", "coarse_crystalline_dolomite"),
        ("medium-grained limestone", "medium_crystalline_limestone"),
        ("Stromatolith", "stromatolite"),
        ("trombolite", "thrombolite"),
        ("Styolite", "stylolite"),
        ("鲕粒灰岩", "oolite"),
        ("泡沫绵层", "foam"),
    ],
)
def test_usual_slips_of_the_pen_are_understood(written, name):
    assert canonical_name(written) == name


def test_classes_of_ones_own_join_the_group_of_the_rock_they_end_in():
    names = {"argillaceous_limestone": "limestone", "泥灰岩": "limestone", "粉晶云岩": "dolostone", "oolite": "grains"}
    assert {name: group_of(name) for name in names} == names
    assert group_of("dolomitic_limestone") == "limestone"
    assert group_of("marl") == "own"
    assert [one.group for one in describe_classes(["sandy_dolostone", "marl"])] == ["dolostone", "own"]
