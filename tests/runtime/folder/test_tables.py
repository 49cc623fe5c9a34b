"""CSV tables that grow row by row and survive a stop."""

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


def test_names_that_are_no_text_are_escaped():
    assert as_text("a\udce9.png") == "a\\xe9.png"
