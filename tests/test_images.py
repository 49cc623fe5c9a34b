"""Photographs of every kind become upright RGB; damaged ones become errors that say what to do."""

import errno
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from drawn import write_tiff
from geocamnet.errors import DataError
from geocamnet.images import (
    is_empty,
    list_images,
    read_image,
    read_reduced,
    read_written,
    remove_asides,
    write_image,
    written_aside,
)


@pytest.fixture
def rgb():
    """Smooth, so that JPEG keeps it within a few grey values; all four corners differ."""
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([rows * 6, columns * 4, 255 - rows * 3 - columns * 2], axis=2).astype(np.uint8)


def test_what_is_written_lossless_is_read_back(tmp_path, rgb):
    for suffix in (".png", ".tif", ".bmp"):
        write_image(tmp_path / f"a{suffix}", rgb)
        assert np.array_equal(read_image(tmp_path / f"a{suffix}"), rgb)


def test_a_jpeg_is_read_back_nearly_and_better_at_higher_quality(tmp_path, rgb):
    rng = np.random.default_rng(0)
    grain = np.clip(rgb.astype(int) + rng.integers(-30, 30, rgb.shape), 0, 255).astype(np.uint8)
    errors = []
    for quality in (30, 98):
        write_image(tmp_path / "a.jpg", grain, quality=quality)
        errors.append(np.abs(read_image(tmp_path / "a.jpg").astype(int) - grain).mean())
    assert errors[1] < errors[0]
    write_image(tmp_path / "smooth.jpg", rgb)
    assert np.abs(read_image(tmp_path / "smooth.jpg").astype(int) - rgb).mean() < 4


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_photograph_is_turned_upright_as_its_exif_says(tmp_path, rgb, orientation, suffix):
    exif = Image.Exif()
    exif[274] = orientation
    file = tmp_path / f"a{suffix}"
    Image.fromarray(rgb).save(file, exif=exif)
    with Image.open(file) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(read_image(file), expected)


def test_a_camera_that_writes_its_metadata_badly_does_not_cost_the_photograph(tmp_path, rgb):
    resolution_as_text = struct.pack(">HHII", 282, 2, 6, 38)
    turned = struct.pack(">HHIHH", 274, 3, 1, 6, 0)
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x02" + resolution_as_text + turned + bytes(4) + b"Leica\x00"
    Image.fromarray(rgb).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.rot90(rgb, -1))


def test_rows_are_handed_over_in_strips_and_none_is_lost(tmp_path):
    tall = np.random.default_rng(0).integers(0, 255, (3 * 64 + 17, 9, 3), dtype=np.uint8)
    Image.fromarray(tall).convert("P").save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.asarray(Image.open(tmp_path / "a.png").convert("RGB")))
    write_image(tmp_path / "b.png", tall)
    assert np.array_equal(read_image(tmp_path / "b.png"), tall)


@pytest.mark.parametrize("divisor", [2, 4, 8])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_jpeg_decoded_smaller_holds_the_means_of_the_full_one(tmp_path, divisor, orientation):
    grain = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    file = tmp_path / "a.jpg"
    Image.fromarray(grain).save(file, quality=95, subsampling=0, exif=exif)
    full, asked = read_image(file), []
    with file.open("rb") as stream:
        small, divided = read_reduced(stream, "a", lambda size_hw: asked.append(size_hw) or divisor)
    height, width = full.shape[0] // divisor, full.shape[1] // divisor
    means = full.reshape(height, divisor, width, divisor, 3).mean(axis=(1, 3))
    assert (asked, divided, small.shape) == ([full.shape[:2]], divisor, (height, width, 3))
    difference = np.abs(small - means)
    assert difference.mean() < 1.5  # of noise from 0 to 255, the hardest there is
    assert difference.max() < 40  # where the full one was cut off at 0 or 255


def test_only_a_jpeg_is_decoded_smaller(tmp_path, rgb):
    write_image(tmp_path / "a.png", rgb)
    with (tmp_path / "a.png").open("rb") as stream:
        image, divisor = read_reduced(stream, "a", lambda size_hw: 4)
    assert divisor == 1
    assert np.array_equal(image, rgb)


def test_a_cmyk_jpeg_keeps_its_colours(tmp_path):
    # Cyan ink removes red light: (C, M, Y, K) = (255, 0, 0, 0) is R 0, G 255, B 255.
    inks = {(255, 0, 0, 0): (0, 255, 255), (0, 255, 0, 0): (255, 0, 255), (0, 0, 255, 0): (255, 255, 0)}
    inks |= {(0, 0, 0, 255): (0, 0, 0), (0, 0, 0, 0): (255, 255, 255)}
    for cmyk, expected in inks.items():
        Image.new("CMYK", (24, 16), cmyk).save(tmp_path / "a.jpg", quality=95)
        assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - expected).max() <= 4


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_scaled_full_range_to_full_range(tmp_path, suffix):
    values = np.linspace(0, 65535, 60 * 40).reshape(40, 60).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / f"a{suffix}")
    image = read_image(tmp_path / f"a{suffix}")
    assert image.shape == (40, 60, 3)
    assert np.abs(image[..., 0] - values / 257.0).max() <= 0.5
    assert (image == image[..., :1]).all()


def test_16_bit_grey_is_never_stretched_to_its_own_range(tmp_path):
    Image.fromarray(np.full((8, 8), 10_000, np.uint16)).save(tmp_path / "dim.png")
    assert (read_image(tmp_path / "dim.png") == 39).all()  # 10000 / 257


def test_a_12_bit_camera_that_states_its_maximum_is_scaled_by_it(tmp_path):
    values = np.array([[0, 4095, 2048]] * 8, np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={281: 4095})
    assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 255, 128]


def test_colours_of_a_12_bit_camera_are_scaled_by_the_maximum_it_states(tmp_path, rgb):
    samples = (rgb.astype("<u2") * 16).tobytes()
    tags = {258: (16,) * 3, 262: (2,), 277: (3,), 281: (4095,) * 3}
    found = read_image(write_tiff(tmp_path / "a.tif", rgb.shape[:2], samples, tags))
    assert np.abs(found.astype(int) - rgb).max() <= 1
    turned = read_image(write_tiff(tmp_path / "b.tif", rgb.shape[:2], samples, tags | {274: (6,), 281: (4095,)}))
    np.testing.assert_array_equal(turned, np.rot90(found, -1))


@pytest.mark.parametrize(("meaning", "expected"), [(0, 128), (1, 255), (2, 191)])
@pytest.mark.parametrize("top", [4095, 65535])
def test_a_fourth_sample_of_16_bits_is_what_the_tiff_says_it_is(tmp_path, meaning, expected, top):
    samples = np.full((9, 8, 4), top // 2, "<u2").tobytes()
    tags = {258: (16,) * 4, 262: (2,), 277: (4,), 281: (top,), 338: (meaning,)}
    found = read_image(write_tiff(tmp_path / "a.tif", (9, 8), samples, tags))
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_16_bit_colours_in_planes_are_read_or_refused_and_never_garbage(tmp_path, rgb):
    planes = [np.ascontiguousarray(rgb[..., one]).astype("<u2") * 257 for one in range(3)]
    tags = {258: (16,) * 3, 262: (2,), 277: (3,), 284: (2,)}
    for compression, stored in ((1, [one.tobytes() for one in planes]), (8, [zlib.compress(one) for one in planes])):
        ends = np.cumsum([8, *map(len, stored)]).tolist()
        places = {259: (compression,), 273: tuple(ends[:-1]), 279: tuple(map(len, stored))}
        file = write_tiff(tmp_path / f"{compression}.tif", rgb.shape[:2], b"".join(stored), tags | places)
        of_12_bits = write_tiff(tmp_path / "12.tif", rgb.shape[:2], b"".join(stored), tags | places | {281: (4095,)})
        with pytest.raises(DataError, match="samples of a pixel side by side"):
            read_image(of_12_bits)
        if compression == 1:
            with pytest.raises(DataError, match="samples of a pixel side by side"):
                read_image(file)
        else:
            np.testing.assert_array_equal(read_image(file), rgb)


def test_16_bit_grey_whose_zero_is_white_is_no_negative(tmp_path):
    samples = np.array([[0, 65535, 257 * 55]] * 4, "<u2")
    file = write_tiff(tmp_path / "a.tif", (4, 3), samples.tobytes(), {258: (16,), 262: (0,), 277: (1,)})
    assert read_image(file)[0, :, 0].tolist() == [255, 0, 200]


def test_12_bits_packed_closely_span_the_whole_range(tmp_path):
    samples = bytes.fromhex("000fff800800") * 3  # rows of 0, 4095, 2048, 2048
    file = write_tiff(tmp_path / "a.tif", (3, 4), samples, {258: (12,), 262: (1,), 277: (1,)})
    assert read_image(file)[0, :, 0].tolist() == [0, 255, 128, 128]


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_16_bit_rgb_keeps_its_colours(tmp_path, kind):
    import cv2

    rgb16 = np.zeros((20, 30, 3), np.uint16)
    rgb16[...] = (65535, 30000, 500)
    cv2.imwrite(str(tmp_path / f"a.{kind}"), rgb16[..., ::-1])
    expected = np.array([255, 117, 2])
    assert np.abs(read_image(tmp_path / f"a.{kind}").astype(int) - expected).max() <= 1


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[:, 4:, 3] = 255  # the left half is invisible
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert (image[:, :4] == 255).all()
    assert (image[:, 4:] == (200, 0, 0)).all()


def test_a_palette_with_and_without_transparency_becomes_its_colours(tmp_path):
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == (200, 100, 50)).all()
    palette.save(tmp_path / "b.png", transparency=1)
    assert (read_image(tmp_path / "b.png") == 255).all()


def test_black_and_white_and_grey_become_rgb(tmp_path):
    Image.new("1", (8, 8), 1).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 255).all()
    Image.new("L", (8, 9), 77).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png").shape == (9, 8, 3)
    assert (read_image(tmp_path / "b.png") == 77).all()


@pytest.mark.parametrize("suffix", [".tif", ".webp", ".png"])
def test_of_several_pages_or_frames_the_first_is_read(tmp_path, suffix):
    pages = [Image.new("RGB", (16, 16), colour) for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    options = {"lossless": True} if suffix == ".webp" else {}
    pages[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=pages[1:], **options)
    assert (read_image(tmp_path / f"a{suffix}") == (200, 0, 0)).all()


def test_chinese_names_with_spaces_and_wrong_suffixes_are_read(tmp_path, rgb):
    folder = tmp_path / "四川 盆地" / "鲕粒 岩"
    write_image(folder / "样品 3 单偏光.png", rgb)
    (folder / "样品 3 单偏光.png").rename(folder / "样品 3.jpg")  # content tells, not the suffix
    assert np.array_equal(read_image(folder / "样品 3.jpg"), rgb)


def test_extreme_shapes_are_read(tmp_path):
    for size_wh in ((1, 1), (30_000, 20)):
        Image.new("RGB", size_wh, (1, 2, 3)).save(tmp_path / "a.png")
        assert read_image(tmp_path / "a.png").shape == (size_wh[1], size_wh[0], 3)


def test_a_truncated_jpeg_is_an_error_and_never_half_grey(tmp_path, rgb):
    write_image(tmp_path / "a.jpg", rgb)
    whole = (tmp_path / "a.jpg").read_bytes()
    for length in (len(whole) // 2, len(whole) * 9 // 10):
        (tmp_path / "a.jpg").write_bytes(whole[:length])
        with pytest.raises(DataError, match="damaged or cut short"):
            read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.jpg", "b.JPEG", "c.png", "d.tif", "剖面.jpg"])
@pytest.mark.parametrize("grey", [False, True])
def test_what_was_written_is_read_pixel_for_pixel_as_any_photograph_is(tmp_path, rgb, name, grey):
    rng = np.random.default_rng(0)
    grain = np.clip(rgb.astype(int) + rng.integers(-60, 60, rgb.shape), 0, 255).astype(np.uint8)
    for quality in (50, 95, 100):
        write_image(tmp_path / name, grain[..., 0] if grey else grain, quality=quality)
        found = read_written(tmp_path / name)
        assert found.dtype == np.uint8
        assert np.array_equal(found, read_image(tmp_path / name))


def test_what_was_written_and_has_been_cut_short_or_lost_since_is_the_same_error(tmp_path, rgb):
    write_image(tmp_path / "a.jpg", rgb)
    whole = (tmp_path / "a.jpg").read_bytes()
    for length in (0, 2, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.jpg").write_bytes(whole[:length])
        with pytest.raises(DataError) as expected:
            read_image(tmp_path / "a.jpg")
        with pytest.raises(DataError) as found:
            read_written(tmp_path / "a.jpg")
        assert str(found.value) == str(expected.value)
    with pytest.raises(DataError, match=r"gone\.jpg"):
        read_written(tmp_path / "gone.jpg")


def test_what_was_written_and_claims_another_size_since_is_the_same_error(tmp_path, rgb):
    write_image(tmp_path / "a.jpg", rgb)
    whole = bytearray((tmp_path / "a.jpg").read_bytes())
    at = whole.index(b"\xff\xc0") + 5  # of the frame header: height and width
    for height, width in ((65500, 65500), (0, 0)):
        whole[at : at + 4] = struct.pack(">HH", height, width)
        (tmp_path / "a.jpg").write_bytes(whole)
        with pytest.raises(DataError) as expected:
            read_image(tmp_path / "a.jpg")
        with pytest.raises(DataError) as found:
            read_written(tmp_path / "a.jpg")
        assert str(found.value) == str(expected.value)


def test_what_is_no_photograph_is_an_error_that_says_so(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("I am a text")
    cases = {"empty.jpg": "empty", "text.jpg": "not an image", "none.jpg": "no such file", ".": "is a folder"}
    for name, told in cases.items():
        with pytest.raises(DataError, match=told):
            read_image(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name here")
def test_a_pipe_is_an_error_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    held = os.open(tmp_path / "a.png", os.O_RDWR | os.O_NONBLOCK)  # so that whoever opens it does not wait for ever
    try:
        with pytest.raises(DataError, match=r"a\.png: is a pipe or device"):
            read_image(tmp_path / "a.png")
    finally:
        os.close(held)


def test_pixels_of_unknown_range_are_an_error_that_says_what_to_do(tmp_path):
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((8, 8), 100_000, np.int32)).save(tmp_path / "int.tif")
    for name in ("float.tif", "int.tif"):
        with pytest.raises(DataError, match="Save it as an 8-bit or 16-bit image"):
            read_image(tmp_path / name)


def test_more_pixels_than_are_read_here_are_refused_before_decoding(tmp_path, rgb, monkeypatch):
    write_image(tmp_path / "a.png", rgb)
    monkeypatch.setattr("geocamnet.images.MAX_PIXELS", 100)
    with pytest.raises(DataError, match="60 x 40 pixels is more"):
        read_image(tmp_path / "a.png")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_is_an_error_of_ours(data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    suffix, options = data.draw(st.sampled_from([("jpg", {}), ("png", {}), ("tif", {}), ("webp", {}), ("bmp", {})]))
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Leica"
    file = folder / f"damaged.{suffix}"
    Image.new("RGB", (17, 11), (90, 60, 30)).save(file, **options, **({} if suffix == "bmp" else {"exif": exif}))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        image = read_image(file)
    except DataError as error:
        told = str(error)
    else:
        told = f"{file}: {image.dtype} {image.ndim} {image.shape[2]}"
        assert told.endswith("uint8 3 3")
    assert told.startswith(str(file))


def test_only_uint8_images_of_a_known_suffix_are_written(tmp_path, rgb):
    with pytest.raises(DataError, match="received float64"):
        write_image(tmp_path / "a.png", rgb.astype(float))
    with pytest.raises(DataError, match="shape"):
        write_image(tmp_path / "a.png", rgb[..., :2])
    with pytest.raises(DataError, match="unknown suffix"):
        write_image(tmp_path / "a.xyz", rgb)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cant_be_written_is_an_error_of_ours(tmp_path, rgb):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="can't be written"):
        write_image(tmp_path / "file" / "below" / "a.png", rgb)


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path, rgb, monkeypatch):
    write_image(tmp_path / "a.png", rgb)
    before = (tmp_path / "a.png").read_bytes()

    def save(self, target, **options):
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(DataError, match="No space left"):
        write_image(tmp_path / "a.png", 255 - rgb)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


def test_an_error_while_writing_aside_passes_through_and_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), written_aside(tmp_path / "a.txt") as aside:
        aside.write_text(str(1 / 0))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_leaves_counts_for_nothing_and_is_removed(tmp_path):
    for file in (tmp_path / "a.txt", tmp_path / "deep" / "down" / "b.txt"):
        with written_aside(file) as aside:
            file.with_name(aside.name.replace(aside.stem, ".aside-0123456789ab")).write_text("half")
            aside.write_text("whole")
    names = [".aside-0123456789ab.txt", "b.txt"]
    assert sorted(one.name for one in (tmp_path / "deep" / "down").iterdir()) == names
    remove_asides(tmp_path, deep=False)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.txt", "deep"]
    assert sorted(one.name for one in (tmp_path / "deep" / "down").iterdir()) == names
    remove_asides(tmp_path)
    assert [one.name for one in (tmp_path / "deep" / "down").iterdir()] == ["b.txt"]
    assert not is_empty(tmp_path)
    (tmp_path / "deep" / "down" / "b.txt").rename(tmp_path / "deep" / "down" / ".aside-0123456789ab.txt")
    assert is_empty(tmp_path / "deep" / "down")
    remove_asides(tmp_path / "not there")


def test_images_are_listed_sorted_and_hidden_and_other_files_left_out(tmp_path, rgb):
    for name in ("b/2.JPG", "b/1.jpeg", "a.PNG", ".hidden/x.jpg", "b/._1.jpeg"):
        write_image(tmp_path / name, rgb)
    (tmp_path / "notes.txt").touch()
    found = [file.relative_to(tmp_path).as_posix() for file in list_images(tmp_path)]
    assert found == ["a.PNG", "b/1.jpeg", "b/2.JPG"]


def test_linked_folders_are_not_followed_and_their_number_is_told(tmp_path, rgb, caplog):
    write_image(tmp_path / "photographs" / "a.png", rgb)
    write_image(tmp_path / "elsewhere" / "b.png", rgb)
    (tmp_path / "photographs" / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "photographs" / "back").symlink_to(tmp_path / "photographs", target_is_directory=True)
    assert [one.name for one in list_images(tmp_path / "photographs")] == ["a.png"]
    (told,) = caplog.messages
    assert "2 linked folder(s)" in told
    caplog.clear()
    list_images(tmp_path / "elsewhere")
    assert caplog.messages == []


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no photograph found"):
        list_images(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        list_images(tmp_path / "none")


def test_a_folder_that_cant_be_listed_is_an_error_and_not_left_out(tmp_path, rgb, monkeypatch):
    write_image(tmp_path / "a.png", rgb)
    write_image(tmp_path / "locked" / "b.png", rgb)
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"locked: the folder can't be listed \(Permission denied\)"):
        list_images(tmp_path)


def test_reading_imports_nothing_heavy():
    heavy = {"torch", "sklearn", "skimage", "onnx", "matplotlib"}
    code = "import sys, geocamnet.images, geocamnet.train.prepare; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "geocamnet.train.prepare" in modules
    assert heavy.isdisjoint(modules)
