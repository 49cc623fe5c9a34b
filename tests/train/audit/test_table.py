"""The table is the user's: what they wrote is read, and what can't be is told with its line."""

import numpy as np
import pytest

from geocamnet.errors import DataError
from geocamnet.images import write_image
from geocamnet.train.audit.carry_out import carry_out
from geocamnet.train.audit.table import Actions, Line, read_actions, write_table
from geocamnet.train.originals import open_originals
from geocamnet.train.sources import RawPhotograph, Source


def line(image, action="", value=""):
    return Line(image, "exact-copies", "warning", action, value, "foam", "a detail, with a comma")


def test_what_is_written_is_read(tmp_path):
    lines = [
        line("鲕粒/a.png", "drop", "b.png"),
        line("b.png", "merge", "vug|foam"),
        line("c.png", "crop", "0,3,0,12"),
        line("c.png", "crop", "5,0,0,4"),
        line("c.png", "group", "g1"),
        line("c.png", "group", "g2"),
        line("d.png"),
    ]
    write_table(tmp_path, lines)
    read = read_actions(tmp_path)
    assert read == read_actions(tmp_path / "audit.csv")
    assert read == Actions(
        frozenset({"鲕粒/a.png"}), {"b.png": ("foam", "vug")}, {"c.png": (5, 3, 0, 12)}, {"c.png": ("g1", "g2")}
    )


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (line("a", "dorp"), "line 2: Unknown action 'dorp'.*Did you mean 'drop'"),
        (line("a", "crop", "3"), "line 2: a crop is left,top,right,bottom"),
        (line("a", "crop", "0,0,0,-3"), "can't be below 0"),
        (line("a", "group"), "needs the name of a group"),
    ],
)
def test_what_cant_be_read_is_told_with_its_line(tmp_path, wrong, told):
    write_table(tmp_path, [wrong])
    with pytest.raises(DataError, match=told):
        read_actions(tmp_path)


def test_labels_that_contradict_each_other_and_tables_that_are_none_are_errors(tmp_path):
    write_table(tmp_path, [line("a", "merge", "x|y"), line("a", "merge", "x|z")])
    with pytest.raises(DataError, match="given other labels above"):
        read_actions(tmp_path)
    (tmp_path / "audit.csv").write_text("image;action\n")
    with pytest.raises(DataError, match="columns missing: image"):
        read_actions(tmp_path)
    with pytest.raises(DataError, match="Make one with: geocamnet audit"):
        read_actions(tmp_path / "nowhere")


def test_a_table_of_another_folder_or_one_that_drops_all_is_an_error(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    photographs = (RawPhotograph("a.png", ("foam",)),)
    source = Source("folders", photographs, (), (), (), (), open_originals(tmp_path))
    with pytest.raises(DataError, match="names none of these 1 photographs"):
        carry_out(source, Actions(frozenset({"b.png"})))
    with pytest.raises(DataError, match="drops every photograph"):
        carry_out(source, Actions(frozenset({"a.png"})))
    assert carry_out(source, Actions()) == (source, {})
