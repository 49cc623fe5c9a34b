"""A scan's rectangles are those of the photograph, however it was stored; what is no scan is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawn import write_tiff
from geocamnet.errors import DataError
from geocamnet.images import read_image, write_image
from geocamnet.runtime.huge.scan import open_scan

tifffile = pytest.importorskip("tifffile", reason="scans need tifffile: pip install 'geocamnet[big]'")
pytest.importorskip("imagecodecs", reason="compressed scans need imagecodecs: pip install 'geocamnet[big]'")

SHAPE_HW = (150, 210)


@pytest.fixture(scope="module")
def rock():
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (15, 21, 3), np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((10, 10, 1), np.uint8)))


@pytest.fixture(scope="module")
def smooth():
    """Return a photograph that JPEG, which halves the resolution of colours, keeps well."""
    y, x = np.mgrid[: SHAPE_HW[0], : SHAPE_HW[1]]
    return np.stack([x, 255 - x, y], axis=2).astype(np.uint8)


STORED = {
    "tiles": {"tile": (64, 48)},
    "tiles, Deflate": {"tile": (64, 48), "compression": "zlib", "predictor": True},
    "tiles, LZW": {"tile": (32, 32), "compression": "lzw"},
    "tiles, Zstandard": {"tile": (32, 32), "compression": "zstd"},
    "uncompressed": {},
    "strips, Deflate": {"rowsperstrip": 17, "compression": "zlib"},
    "one strip, Deflate": {"rowsperstrip": 150, "compression": "zlib"},
    "planes": {"planarconfig": "separate", "tile": (64, 48)},
    "planes, uncompressed": {"planarconfig": "separate"},
    "BigTIFF": {"bigtiff": True, "tile": (64, 48)},
    "the other byte order": {"byteorder": ">", "tile": (64, 48)},
}


def store(path, pixels, *, bigtiff=False, byteorder="<", ome=False, **how):
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder, ome=ome) as tiff:
        planar = how.get("planarconfig") == "separate"
        how.setdefault("photometric", "rgb")
        tiff.write(np.moveaxis(pixels, -1, 0) if planar else pixels, **how)
    return path


@pytest.mark.parametrize("how", STORED.values(), ids=STORED)
@given(data=st.data())
def test_a_rectangle_is_that_of_the_photograph(tmp_path_factory, rock, how, data):
    path = tmp_path_factory.getbasetemp() / f"stored-{list(STORED.values()).index(how)}.tif"
    if not path.is_file():
        store(path, rock, **how)
    top, left = data.draw(st.integers(0, SHAPE_HW[0] - 1)), data.draw(st.integers(0, SHAPE_HW[1] - 1))
    height, width = data.draw(st.integers(1, SHAPE_HW[0] - top)), data.draw(st.integers(1, SHAPE_HW[1] - left))
    with open_scan(path) as scan:
        assert scan.shape_hw == SHAPE_HW
        part = scan.read(top, left, height, width)
    assert part.dtype == np.uint8
    np.testing.assert_array_equal(part, rock[top : top + height, left : left + width])


def test_jpeg_tiles_are_read(tmp_path, smooth):
    path = store(tmp_path / "jpeg.tif", smooth, tile=(64, 48), compression="jpeg", compressionargs={"level": 95})
    with open_scan(path) as scan:
        assert np.abs(scan.read(3, 5, 100, 120).astype(int) - smooth[3:103, 5:125]).mean() < 2


def test_sixteen_bits_grey_and_transparency_become_rgb(tmp_path, rock):
    deep = rock.astype(np.uint16) * 257
    grey = rock[..., 0]
    opacity = np.full((*SHAPE_HW, 1), 255, np.uint8)
    opacity[:, :100] = 0
    cases = {
        "16 bit": (store(tmp_path / "deep.tif", deep, tile=(64, 48)), rock),
        "12 in 16": (
            store(tmp_path / "twelve.tif", deep // 16, tile=(64, 48), extratags=[(281, 3, 1, 4095, False)]),
            rock,
        ),
        "grey": (store(tmp_path / "grey.tif", grey, photometric="minisblack"), np.repeat(grey[..., None], 3, 2)),
        "white is 0": (
            store(tmp_path / "inverse.tif", 255 - grey, photometric="miniswhite"),
            np.repeat(grey[..., None], 3, 2),
        ),
        "RGBA": (
            store(tmp_path / "rgba.tif", np.concatenate([rock, opacity], 2), extrasamples=["unassalpha"]),
            np.where(opacity > 0, rock, 255),
        ),
    }
    for name, (path, expected) in cases.items():
        with open_scan(path) as scan:
            found = scan.read(0, 0, *SHAPE_HW)
        assert np.abs(found.astype(int) - expected).max() <= 1, name


def test_12_bits_packed_closely_span_the_whole_range(tmp_path):
    samples = bytes.fromhex("000fff800800") * 3  # rows of 0, 4095, 2048, 2048
    with open_scan(write_tiff(tmp_path / "a.tif", (3, 4), samples, {258: (12,), 262: (1,), 277: (1,)})) as scan:
        assert scan.read(0, 0, 3, 4)[0, :, 0].tolist() == [0, 255, 128, 128]


@pytest.mark.parametrize(("meaning", "expected"), [("unspecified", 128), ("assocalpha", 255), ("unassalpha", 191)])
@pytest.mark.parametrize("colours", [1, 3])
def test_a_sample_more_is_what_the_tiff_says_it_is(tmp_path, meaning, expected, colours):
    path, pixels = tmp_path / "a.tif", np.full((40, 50, colours + 1), 128, np.uint8)
    photometric = "rgb" if colours == 3 else "minisblack"
    store(path, pixels, extrasamples=[meaning], photometric=photometric, planarconfig="contig")
    with open_scan(path) as scan:
        assert (scan.read(0, 0, 40, 50) == expected).all()
    assert np.abs(read_image(path).astype(int) - expected).max() <= 1  # `run` sees the same


def test_where_zero_is_white_opacity_is_none_the_less_opacity(tmp_path):
    pixels = np.dstack([np.full((40, 50), 55, np.uint8), np.full((40, 50), 255, np.uint8)])
    path = store(
        tmp_path / "a.tif", pixels, extrasamples=["unassalpha"], photometric="miniswhite", planarconfig="contig"
    )
    with open_scan(path) as scan:
        assert (scan.read(0, 0, 40, 50) == 200).all()


def test_a_palette_is_looked_up(tmp_path, rock):
    colours = np.zeros((3, 256), np.uint16)
    colours[0, 7], colours[2, 9] = 65535, 65535
    numbers = np.where(np.arange(210)[None] < 100, 7, 9).astype(np.uint8) * np.ones((150, 1), np.uint8)
    path = store(tmp_path / "palette.tif", numbers, photometric="palette", colormap=colours)
    with open_scan(path) as scan:
        part = scan.read(0, 90, 10, 20)
    assert part[0, 0].tolist() == [255, 0, 0]
    assert part[0, 15].tolist() == [0, 0, 255]


@pytest.mark.parametrize("axes", ["YXS", "CYX"])
def test_an_ome_tiff_tells_its_scale(tmp_path, rock, axes):
    pixels = rock if axes == "YXS" else np.moveaxis(rock, -1, 0)
    metadata = {"axes": axes, "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 250,
                "PhysicalSizeYUnit": "nm"}  # fmt: skip
    path = tmp_path / "scan.ome.tif"
    photometric = "rgb" if axes == "YXS" else "minisblack"
    tifffile.imwrite(path, pixels, ome=True, metadata=metadata, photometric=photometric, tile=(64, 48))
    with open_scan(path) as scan:
        assert (scan.kind, scan.um_per_px) == ("OME-TIFF", pytest.approx(0.25))
        np.testing.assert_array_equal(scan.read(10, 20, 30, 40), rock[10:40, 20:60])


def test_resolution_tags_are_a_printers(tmp_path, rock):
    path = store(tmp_path / "printed.tif", rock, resolution=(300, 300), resolutionunit="INCH")
    with open_scan(path) as scan:
        assert scan.um_per_px is None


def test_of_a_pyramid_the_largest_level_is_read(tmp_path, rock):
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(rock, tile=(64, 48), subifds=1, photometric="rgb")
        tiff.write(rock[::2, ::2].copy(), tile=(64, 48), subfiletype=1, photometric="rgb")
    with open_scan(path) as scan:
        np.testing.assert_array_equal(scan.read(0, 0, *SHAPE_HW), rock)


def test_a_tile_never_scanned_is_white(tmp_path):
    path = tmp_path / "sparse.tif"
    tiles = iter([np.zeros((16, 16, 3), np.uint8), None])
    tifffile.imwrite(path, tiles, shape=(16, 32, 3), dtype=np.uint8, tile=(16, 16), photometric="rgb")
    with open_scan(path) as scan:
        part = scan.read(0, 0, 16, 32)
    assert part[:, :16].max() == 0
    assert part[:, 16:].min() == 255


def test_a_whole_slide_is_read_with_its_scale(tmp_path, smooth):
    pytest.importorskip("openslide", reason="whole slides need OpenSlide: pip install 'geocamnet[big]'")
    path = tmp_path / "section.svs"
    about = "Aperio Image Library v11.2.1 \r\n210x150 (64x48) JPEG/RGB Q=95|AppMag = 20|MPP = 0.4990"
    tifffile.imwrite(
        path, smooth, tile=(48, 64), photometric="rgb", compression="jpeg", compressionargs={"level": 95},
        description=about, metadata=None,
    )  # fmt: skip
    with open_scan(path) as scan:
        assert (scan.kind, scan.um_per_px) == ("aperio", pytest.approx(0.499))
        assert np.abs(scan.read(20, 30, 50, 60).astype(int) - smooth[20:70, 30:90]).mean() < 2


def test_what_is_no_tiff_is_held_in_memory(tmp_path, rock):
    write_image(tmp_path / "mosaic.png", rock)
    with open_scan(tmp_path / "mosaic.png") as scan:
        assert scan.kind == "in memory"
        np.testing.assert_array_equal(scan.read(7, 8, 9, 10), rock[7:16, 8:18])


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 151, 5), (0, 200, 5, 11), (0, 0, 0, 5)])
def test_a_rectangle_that_reaches_out_is_refused(tmp_path, rock, box):
    with open_scan(store(tmp_path / "a.tif", rock)) as scan, pytest.raises(DataError, match="reach out"):
        scan.read(*box)


def test_what_is_no_scan_is_told(tmp_path, rock):
    whole = store(tmp_path / "whole.tif", rock, tile=(64, 48), compression="zlib")
    (tmp_path / "cut.tif").write_bytes(whole.read_bytes()[:200])
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "start.tif").write_bytes(b"II*\0")
    (tmp_path / "text.svs").write_text("a letter")
    tifffile.imwrite(tmp_path / "float.tif", rock.astype(np.float32), photometric="rgb")
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([rock[..., 0]] * 5), photometric="minisblack")
    store(tmp_path / "five.tif", np.repeat(rock[..., :1], 5, axis=2), extrasamples=["unspecified"] * 2)
    tifffile.imwrite(tmp_path / "turned.tif", rock, photometric="rgb", extratags=[(274, 3, 1, 6, False)])
    reasons = {
        "cut.tif": "damaged", "empty.tif": "empty", "start.tif": "damaged", "text.svs": "not an image",
        "float.tif": "float32", "stack.tif": "several images", "five.tif": "5 samples", "turned.tif": "upright",
        "absent.tif": "no such file",
    }  # fmt: skip
    for name, reason in reasons.items():
        with pytest.raises(DataError, match=reason):
            open_scan(tmp_path / name)
    with pytest.raises(DataError, match="is a folder"):
        open_scan(tmp_path)


def test_a_damaged_part_is_told_with_its_place(tmp_path, rock):
    path = store(tmp_path / "damaged.tif", rock, tile=(64, 48), compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[6]  # of the second row of tiles
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 40] = bytes(40)
    path.write_bytes(raw)
    with open_scan(path) as scan:
        np.testing.assert_array_equal(scan.read(0, 0, 64, 210), rock[:64])
        with pytest.raises(DataError, match="at 0, 64 px"):
            scan.read(64, 0, 20, 100)


def test_what_is_not_installed_is_told_with_the_line_that_installs_it(tmp_path, rock, monkeypatch):
    import sys

    path = store(tmp_path / "a.tif", rock)
    monkeypatch.setitem(sys.modules, "openslide", None)
    (tmp_path / "a.svs").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"geocamnet\[big\]"):
        open_scan(tmp_path / "a.svs")
    monkeypatch.delitem(sys.modules, "geocamnet.runtime.huge.tiff_scan", raising=False)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(DataError, match=r"geocamnet\[big\]"):
        open_scan(path)
