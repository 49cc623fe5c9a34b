"""index.csv: what is written is read back, and what is wrong in it is told with its line."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocamnet.errors import DataError
from geocamnet.train.index import COLUMNS, IndexRow, class_names, labels_kind, read_index, use_fold, write_index


def a_row(number=0, **changes):
    row = IndexRow(
        image=f"images/{number}.jpg",
        labels=("oolite",),
        section=f"s{number}",
        field=f"f{number}",
        light="PPL",
        um_per_px=1.25,
        split="train",
        width_px=64,
        height_px=48,
        sha256="0" * 64,
        source=f"{number}.tif",
    )
    return replace(row, **changes)


_text = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="|"), max_size=12)
_rows = st.builds(
    IndexRow,
    image=_text,
    labels=st.lists(_text.filter(bool), max_size=3).map(tuple),
    section=_text,
    field=_text,
    light=st.sampled_from(["PPL", "XPL", "R", ""]),
    um_per_px=st.none() | st.sampled_from([0.5, 1.25, 1e-3, 123456.0]),
    split=st.sampled_from(["train", "val", "test"]),
    width_px=st.integers(1, 10**6),
    height_px=st.integers(1, 10**6),
    sha256=_text,
    source=_text,
    fold=st.none() | st.integers(0, 9),
    mask=_text,
)


@given(rows=st.lists(_rows, min_size=1, max_size=5))
def test_what_is_written_is_read_back(rows, tmp_path_factory):
    data = tmp_path_factory.getbasetemp()
    write_index(data, rows)
    assert read_index(data, check_files=False) == tuple(rows)


def test_the_file_has_the_agreed_columns_and_plain_line_ends(tmp_path):
    write_index(tmp_path, [a_row(labels=("oolite", "vug"), fold=2, um_per_px=None)])
    content = (tmp_path / "index.csv").read_bytes()
    assert b"\r" not in content
    header, line = content.decode().splitlines()
    assert header.split(",") == list(COLUMNS)
    assert line == f"images/0.jpg,oolite|vug,s0,f0,PPL,,train,64,48,{'0' * 64},0.tif,2,"


def test_an_index_saved_by_excel_with_a_mark_in_front_is_read(tmp_path):
    write_index(tmp_path, [a_row()])
    content = (tmp_path / "index.csv").read_bytes()
    (tmp_path / "index.csv").write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert read_index(tmp_path, check_files=False) == (a_row(),)


def test_a_photograph_that_is_not_there_is_told(tmp_path):
    write_index(tmp_path, [a_row(1), a_row(2)])
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").touch()
    with pytest.raises(DataError, match=r"1 photograph\(s\) that are not there.*images/2.jpg"):
        read_index(tmp_path)
    assert len(read_index(tmp_path, check_files=False)) == 2


def test_a_folder_without_index_tells_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match="geocamnet prepare RAW"):
        read_index(tmp_path)


def test_an_index_without_rows_or_columns_is_an_error(tmp_path):
    file = tmp_path / "index.csv"
    file.write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(DataError, match="holds no photograph"):
        read_index(tmp_path)
    file.write_text("image,labels\n")
    with pytest.raises(DataError, match="columns missing: section"):
        read_index(tmp_path)
    file.write_text("")
    with pytest.raises(DataError, match="columns missing"):
        read_index(tmp_path)
    file.write_bytes("image,鲕粒\n".encode("gb18030"))
    with pytest.raises(DataError, match="not a UTF-8 table"):
        read_index(tmp_path)


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        (",train,", ",trian,", "Did you mean 'train'"),
        (",1.25,", ",-1,", "above 0"),
        (",1.25,", ",nan,", "above 0"),
        (",1.25,", ",wide,", "can't be read"),
        (",64,", ",,", "can't be read"),
    ],
)
def test_a_value_that_cant_be_is_told_with_its_line(tmp_path, good, bad, told):
    write_index(tmp_path, [a_row(1), a_row(2)])
    file = tmp_path / "index.csv"
    first, second, third = file.read_text().splitlines()
    file.write_text("\n".join([first, second, third.replace(good, bad)]))
    with pytest.raises(DataError, match=f"line 3.*{told}"):
        read_index(tmp_path, check_files=False)


def test_a_row_cut_short_is_told_with_its_line(tmp_path):
    (tmp_path / "index.csv").write_text(",".join(COLUMNS) + "\nimages/1.jpg,oolite,s\n")
    with pytest.raises(DataError, match="line 2"):
        read_index(tmp_path)


def test_classes_are_sorted_and_several_labels_make_it_multi():
    rows = [a_row(1, labels=("vug",)), a_row(2, labels=()), a_row(3, labels=("foam",))]
    assert class_names(rows) == ("foam", "vug")
    assert labels_kind(rows) == "single"
    assert labels_kind([*rows, a_row(4, labels=("foam", "vug"))]) == "multi"


def test_each_fold_tests_once_and_half_of_it_validates_once():
    rows = [a_row(number, section=f"s{number // 2}", fold=number // 2 % 4) for number in range(32)]
    splits = [[row.split for row in use_fold(rows, fold)] for fold in range(4)]
    of_rows = [sorted(splits[fold][number] for fold in range(4)) for number in range(32)]
    assert (
        sorted(map(tuple, of_rows))
        == [("test", "train", "train", "train")] * 16 + [("test", "train", "train", "val")] * 16
    )
    for split in splits:  # photographs of one section stay together
        assert all(split[number] == split[number + 1] for number in range(0, 32, 2))


def test_validation_has_every_class_in_its_share():
    rows = [a_row(n, section=f"s{n}", labels=("vug" if n % 3 else "foam",), fold=n // 3 % 3) for n in range(90)]
    validating = [row.labels[0] for row in use_fold(rows, 0) if row.split == "val"]
    assert (validating.count("vug"), validating.count("foam")) == (10, 5)


def test_without_a_fold_rows_are_split_as_they_are():
    rows = [a_row(1, fold=0), a_row(2)]
    assert use_fold(rows, None) == tuple(rows)


def test_folds_that_are_not_there_are_an_error():
    with pytest.raises(DataError, match="--folds 5"):
        use_fold([a_row()], 0)
    with pytest.raises(DataError, match="folds 0 to 1; received 2"):
        use_fold([a_row(1, fold=0), a_row(2, fold=1)], 2)
