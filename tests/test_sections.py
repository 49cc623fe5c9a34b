"""Which thin section a photograph shows, as its path tells it."""

import pytest

from geocamnet.errors import DataError
from geocamnet.sections import section_by_place, section_by_regex, section_pattern, sections_by_regex


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ("well 1/a3.jpg", "well 1"),
        ("well 1/PPL/a3.jpg", "well 1"),
        ("PPL/well 1/a3.jpg", "well 1"),
        ("well 1/TS-12/a3.jpg", "well 1/TS-12"),
        ("薄片甲/葡萄.png", "薄片甲"),
        ("TS12_03_XPL.jpg", "TS12"),
        ("TS12_03_PPL.jpg", "TS12"),
        ("XPL/TS12_03.jpg", "TS12"),
        ("oolite_S011_F01_PPL.jpg", "oolite_S011"),
        ("A-17 (3).JPG", "A-17"),
        ("1-2.jpg", "1"),
        ("样品7 视域 3.jpg", "样品7"),
        ("IMG_0012.jpg", "IMG"),
        ("a3.jpg", "slides"),
        ("0012.jpg", "slides"),
        ("葡萄.png", "slides"),
        ("PPL.jpg", "slides"),
        ("_1.png", "slides"),
    ],
)
def test_a_section_is_the_subfolder_or_the_name_without_the_field_s_number(path, section):
    assert section_by_place(path, "slides") == section


def test_both_lights_of_a_view_are_of_one_section():
    for first, second in (("x/PPL/1.jpg", "x/XPL/1.jpg"), ("S1_2_PPL.jpg", "S1_2_XPL.jpg"), ("PPL/1.jpg", "XPL/1.jpg")):
        assert section_by_place(first, "slides") == section_by_place(second, "slides")


def test_a_regular_expression_finds_the_section_in_the_path():
    pattern = section_pattern(r"_(S\d+)_")
    assert sections_by_regex(["a_S1_x.jpg", "b/c_S22_.png", "d.jpg"], pattern, below="RAW") == ["S1", "S22", ""]
    assert section_by_regex("x/W3-7/a.jpg", section_pattern(r"(W\d)-(?P<section>\d)")) == "7"
    assert section_by_regex("a.jpg", section_pattern(r"a(b)?")) == ""  # the group took no part


def test_a_regular_expression_that_finds_nothing_or_is_none_is_refused():
    with pytest.raises(DataError, match=r"matches none of 1 photographs, such as a\.jpg.*below the source"):
        sections_by_regex(["a.jpg"], section_pattern(r"(S\d)"), below="the source")
    with pytest.raises(DataError, match="no regular expression"):
        section_pattern("(")
    with pytest.raises(DataError, match="needs a group"):
        section_pattern(r"S\d")
