"""CSV tables that grow row by row and survive a stop."""

import csv

import pytest

from geocamnet.errors import DataError
from geocamnet.runtime.folder.tables import append_to_table, as_text, begin_table, read_table, write_row, write_table

COLUMNS = ("name", "value")


def test_rows_are_added_and_read_back(tmp_path):
    file = tmp_path / "a.csv"
    with begin_table(file, COLUMNS) as stream:
        write_row(stream, ('葡萄, a\n"b"', 0.123456789))
    with append_to_table(file) as stream:
        write_row(stream, (None, 12345678.9))
    assert file.read_bytes().startswith(b"\xef\xbb\xbfname,value\n")
    assert read_table(file, COLUMNS) == ([['葡萄, a\n"b"', "0.123457"], ["", "12345679"]], False)


@pytest.mark.parametrize("cut", [1, 3, 7])
def test_a_torn_row_is_told_and_left_out(tmp_path, cut):
    file = tmp_path / "a.csv"
    write_table(file, COLUMNS, [("a", 1), ("bbbb", 22)])
    file.write_bytes(file.read_bytes()[:-cut])
    assert read_table(file, COLUMNS) == ([["a", "1"]], True)


def test_other_columns_and_folders_in_the_way_are_refused(tmp_path):
    write_table(tmp_path / "a.csv", COLUMNS, [])
    with pytest.raises(DataError, match="columns"):
        read_table(tmp_path / "a.csv", ("name",))
    (tmp_path / "folder.csv").mkdir()
    for open_table in (append_to_table, lambda file: begin_table(file, COLUMNS)):
        with pytest.raises(DataError, match=r"can't be written.*other programs"):
            open_table(tmp_path / "folder.csv")


@pytest.mark.parametrize("name", ["=S1", "+5.png", '=HYPERLINK("http://a.b","c")', "-2+3", "@x", "\tx", "\rx", "'=a"])
def test_a_name_is_no_formula_to_a_spreadsheet_and_is_read_back_as_it_was(tmp_path, name):
    file = tmp_path / "a.csv"
    write_table(file, COLUMNS, [(name, -2.5)])
    with file.open(encoding="utf-8-sig", newline="") as stream:
        _, written = csv.reader(stream)
    assert written == [f"'{name}", "-2.5"]
    assert read_table(file, COLUMNS) == ([[name, "-2.5"]], False)


@pytest.mark.parametrize("name", ["'a'", "a=b", "", "'"])
def test_a_name_that_is_no_formula_is_written_as_it_is(tmp_path, name):
    file = tmp_path / "a.csv"
    write_table(file, COLUMNS, [(name, 1)])
    assert file.read_text(encoding="utf-8-sig") == f"name,value\n{name},1\n"
    assert read_table(file, COLUMNS) == ([[name, "1"]], False)


def test_a_table_without_guarded_names_is_still_read(tmp_path):
    (tmp_path / "a.csv").write_text("name,value\n=S1,-2.5\n-2+3,1\n")
    assert read_table(tmp_path / "a.csv", COLUMNS) == ([["=S1", "-2.5"], ["-2+3", "1"]], False)


def test_a_carriage_return_in_a_name_does_not_end_the_row(tmp_path):
    write_table(tmp_path / "a.csv", COLUMNS, [("a\rb", 1), ("c", 2)])
    assert read_table(tmp_path / "a.csv", COLUMNS) == ([["a\rb", "1"], ["c", "2"]], False)


def test_names_that_are_no_text_are_escaped():
    assert as_text("a\udce9.png") == "a\\xe9.png"
