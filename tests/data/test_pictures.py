"""Odd pictures and odd file names: each is read as it should be, or refused with its reason."""

import io
import os
import re
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg import data
from autoseg.core.errors import InputError
from autoseg.core.text import one_line
from autoseg.data.inspection import inspect
from autoseg.data.pictures import decode_mask, decode_picture, is_turned

# pytest undoes the filters that the module sets; that they hold is seen in a process of its own.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning:PIL")

HW = (6, 9)
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (*HW, 3), dtype=np.uint8)
INDICES = RNG.integers(0, 4, HW, dtype=np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(hw: tuple[int, int], bits: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG by hand: Pillow writes no 16-bit colour (RFC 2083, chunks IHDR, IDAT and IEND)."""
    header = struct.pack(">IIBBBBB", hw[1], hw[0], bits, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png_16(values: np.ndarray) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[:2], 16, {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]], rows)


def tiff(values: np.ndarray, sample_format: int = 1) -> bytes:
    """A little-endian TIFF by hand, one strip (TIFF 6.0, sections 2 to 8)."""
    height, width, channels = values.shape
    tags: list[tuple[int, int, list[int]]] = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [values.dtype.itemsize * 8] * channels),
        (259, 3, [1]),
        (262, 3, [2 if channels >= 3 else 1]),
        (273, 4, [0]),
        (277, 3, [channels]),
        (278, 4, [height]),
        (279, 4, [values.nbytes]),
        *([(338, 3, [2])] if channels == 4 else []),
        (339, 3, [sample_format] * channels),
    ]
    after = 8 + 2 + 12 * len(tags) + 4
    entries, more = b"", b""
    pixels_at = after + sum(2 * len(numbers) for _, kind, numbers in tags if len(numbers) > 2)
    for tag, kind, numbers in tags:
        numbers = [pixels_at] if tag == 273 else numbers
        body = struct.pack(f"<{len(numbers)}{'HI'[kind == 4]}", *numbers)
        if len(body) > 4:
            body, more = struct.pack("<I", after + len(more)), more + body
        entries += struct.pack("<HHI", tag, kind, len(numbers)) + body.ljust(4, b"\0")
    head = b"II" + struct.pack("<HIH", 42, 8, len(tags))
    return head + entries + struct.pack("<I", 0) + more + values.tobytes()


@pytest.mark.parametrize("make", [png_16, tiff])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_decode_picture_uses_the_upper_8_of_16_bits(make, channels):
    values = RNG.integers(0, 65536, (*HW, channels)).astype(np.uint16)
    upper = (values >> 8).astype(np.uint8)
    want = np.repeat(upper, 3, 2) if channels == 1 else upper[..., :3]
    assert decode_picture(make(values)).tolist() == want.tolist()


def test_decode_picture_keeps_dark_16_bits_dark():
    # A picture's own brightest pixel must not decide how it is read.
    assert decode_picture(png_16(np.full((*HW, 1), 200, np.uint16))).max() == 0


@pytest.mark.parametrize("make", [png_16, tiff])
def test_decode_mask_reads_16_bit_indices(make):
    assert decode_mask(make(INDICES[..., None].astype(np.uint16))).tolist() == INDICES.tolist()
    with pytest.raises(InputError, match=r"0\.\.255, .*999"):
        decode_mask(make(np.full((*HW, 1), 999, np.uint16)))


@pytest.mark.parametrize(
    ("values", "sample_format", "kind"),
    [(np.float32(0.5), 3, "floating-point"), (np.uint32(70_000), 1, "32-bit")],
)
def test_decode_refuses_values_without_a_fixed_range(values, sample_format, kind):
    file = tiff(np.full((*HW, 1), values), sample_format)
    with pytest.raises(InputError, match=f"{kind} .*range.* 8"):
        decode_picture(file)
    with pytest.raises(InputError, match=r"whole numbers 0\.\.255"):
        decode_mask(file)


def palette_picture() -> Image.Image:
    picture = Image.fromarray(INDICES).convert("P")
    picture.putdata(INDICES.ravel().tolist())
    picture.putpalette([9, 9, 9, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    return picture


@pytest.mark.parametrize("transparency", [None, 1, bytes([0, 128, 255, 255])])
def test_decode_reads_palettes_as_colours_in_pictures_and_indices_in_masks(transparency):
    options = {} if transparency is None else {"transparency": transparency}
    file = encoded(palette_picture(), **options)
    colours = np.array([[9, 9, 9], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_picture(file).tolist() == colours[INDICES].tolist()
    assert decode_mask(file).tolist() == INDICES.tolist()


def test_decode_drops_transparency_and_keeps_the_colour_below_it():
    alpha = RNG.integers(0, 256, HW, dtype=np.uint8)
    rgba = Image.fromarray(np.dstack([RGB, alpha]))
    assert decode_picture(encoded(rgba)).tolist() == RGB.tolist()
    grey = Image.fromarray(np.dstack([INDICES, alpha]))
    assert grey.mode == "LA"
    assert decode_picture(encoded(grey))[..., 0].tolist() == INDICES.tolist()
    assert decode_mask(encoded(grey)).tolist() == INDICES.tolist()
    grey_rgba = Image.fromarray(np.dstack([INDICES] * 3 + [alpha]))
    assert decode_mask(encoded(grey_rgba)).tolist() == INDICES.tolist()


def test_decode_reads_one_bit_as_black_and_white_in_pictures_and_0_and_1_in_masks():
    bits = Image.fromarray(INDICES > 1)
    assert bits.mode == "1"
    assert decode_picture(encoded(bits))[..., 1].tolist() == (255 * (INDICES > 1)).tolist()
    assert decode_mask(encoded(bits)).tolist() == (INDICES > 1).astype(int).tolist()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_undoes_every_exif_orientation(orientation):
    stored_as = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(Image.fromarray(np.ascontiguousarray(stored_as(RGB))), exif=exif)
    assert decode_picture(file).tolist() == RGB.tolist()
    assert is_turned(file) == (orientation >= 5)


def test_decode_ignores_a_damaged_exif_block():
    file = encoded(Image.fromarray(RGB), exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert decode_picture(file).tolist() == RGB.tolist()


def test_inspect_reports_a_mask_of_the_unrotated_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(4):
        for kind, array in (("images", np.rot90(RGB)), ("masks", INDICES)):
            path = tmp_path / kind / f"n{number}.png"
            path.parent.mkdir(exist_ok=True)
            options = {"exif": exif} if kind == "images" else {}
            Image.fromarray(np.ascontiguousarray(array)).save(path, **options)
    assert inspect(tmp_path).faults == ()
    Image.fromarray(np.rot90(INDICES).copy()).save(tmp_path / "masks/n0.png")
    (fault,) = inspect(tmp_path).faults
    assert re.search(r"^images/n0\.png .*9x6 .*masks/n0\.png .*6x9.*EXIF", fault)


def test_decode_does_not_invert_cmyk_jpegs():
    colour = (200, 30, 40)
    file = encoded(Image.new("RGB", (16, 16), colour).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in file
    assert np.abs(decode_picture(file).astype(int) - colour).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_decode_accepts_one_pixel(kind):
    assert decode_picture(encoded(Image.new("RGB", (1, 1), (7, 7, 7)), kind)).shape == (1, 1, 3)


def test_decode_takes_the_first_of_several_frames():
    frames = [Image.fromarray(np.full(HW, grey, np.uint8)) for grey in (10, 90, 200)]
    for kind in ("PNG", "TIFF", "WEBP", "GIF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        file = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert decode_picture(file).tolist() == np.full((*HW, 3), 10).tolist(), kind


def test_decode_mask_reads_96_million_pixels_without_output():
    code = """
import io
from PIL import Image
from autoseg.data.pictures import decode_mask
file = io.BytesIO()
Image.new("1", (12000, 8000), 1).save(file, "PNG")
print(decode_mask(file.getvalue()).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "(8000, 12000)\n", "")


def jpeg_that_claims(side: int) -> bytes:
    """A JPEG of 9x6 pixels with another size in its frame header (ITU T.81, B.2.2)."""
    file = encoded(Image.fromarray(RGB), "JPEG")
    size = file.index(b"\xff\xc0") + 5
    return file[:size] + struct.pack(">HH", side, side) + file[size + 4 :]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (jpeg_that_claims(13_000), "bytes .*13000x13000 pixels"),
        (b"", "empty"),
        (b"no picture", "known"),
        (encoded(Image.fromarray(RGB))[:-30], "truncated"),
        (encoded(Image.fromarray(RGB), "JPEG")[:-80], "truncated"),
        (encoded(Image.fromarray(RGB), "TIFF")[:-60], "readable"),
        (encoded(Image.fromarray(RGB), "WEBP")[:-20], "readable"),
        (png((60_000, 60_000), 8, 2, b""), "178 million pixels"),
        (png((13_000, 13_000), 8, 2, b""), "truncated"),
        (png((0, 5), 8, 2, b""), "readable"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "known"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_decode_refuses_incomplete_pictures_with_the_reason(file, said):
    for decode in (decode_picture, decode_mask):
        with pytest.raises(InputError) as caught:
            decode(file)
        assert re.search(said, str(caught.value))
        assert "\n" not in str(caught.value)


def add(root: Path, name: str, suffix: str = ".png") -> None:
    noise = np.random.default_rng(list(os.fsencode(name))).integers(0, 256, (24, 24, 3), np.uint8)
    mask = np.repeat(np.arange(2, dtype=np.uint8), 12)[:, None].repeat(24, 1)
    for kind, array, ending in (("images", noise, suffix), ("masks", mask, ".png")):
        path = root / kind / f"{name}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            Image.fromarray(array).save(file, Image.registered_extensions()[ending.lower()])


NAMES = [
    "with space", "ümlaut", "日本語", "two\nlines", "dots.in.name", "-dash", "quote'\"", "*?[a]",
    "tab\t", "#17", os.fsdecode(b"latin-\xe9"),
]  # fmt: skip


def test_inspect_accepts_any_file_name(tmp_path):
    for name in NAMES:
        add(tmp_path, name)
    seen = inspect(tmp_path)
    assert (seen.faults, sum(seen.pairs.values())) == ((), len(NAMES))
    dataset = data.load(tmp_path)
    for samples in dataset.splits.values():
        for sample in samples:
            assert dataset.read(sample)[0].shape == (24, 24, 3)


def test_inspect_faults_are_one_printable_line(tmp_path):
    for name in NAMES:
        add(tmp_path, name)
    for name in NAMES:
        picture = tmp_path / "images" / f"{name}.png"
        whole = picture.read_bytes()
        picture.write_bytes(b"")
        (fault,) = inspect(tmp_path).faults
        assert fault.startswith(f"images/{one_line(name)}.png: ")
        assert fault.isprintable() and fault.encode()
        picture.write_bytes(whole)


def test_inspect_pairs_suffixes_in_capitals(tmp_path):
    for number, suffix in enumerate((".PNG", ".Jpg", ".JPEG", ".TIF", ".WebP", ".BMP")):
        add(tmp_path, f"n{number}", suffix)
    assert sum(inspect(tmp_path).pairs.values()) == 6
    add(tmp_path, "n0", ".png")
    (fault,) = inspect(tmp_path).faults
    assert re.search(r"^images: n0\.PNG .*n0\.png ", fault)


def test_inspect_follows_links_and_reports_broken_ones(tmp_path):
    root = tmp_path / "set"
    for number in range(8):
        add(tmp_path / "elsewhere", f"n{number}")
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
        for path in (tmp_path / "elsewhere" / kind).iterdir():
            (root / kind / path.name).symlink_to(path)
    assert inspect(root).faults == ()
    for kind in ("images", "masks"):
        (tmp_path / "elsewhere" / kind / "n0.png").unlink()
    (fault,) = inspect(root).faults
    assert fault.startswith("images/n0.png, masks/n0.png: no file that can be read")
    (root / "images" / "loop.png").symlink_to("loop.png")
    assert any("images/loop.png" in fault for fault in inspect(root).faults)


def test_inspect_follows_a_linked_folder(tmp_path):
    for number in range(4):
        add(tmp_path / "elsewhere", f"n{number}")
    (tmp_path / "set").mkdir()
    for kind in ("images", "masks"):
        (tmp_path / "set" / kind).symlink_to(tmp_path / "elsewhere" / kind)
    assert inspect(tmp_path / "set").faults == ()


def test_inspect_reports_a_pipe_named_like_a_picture(tmp_path):
    for number in range(4):
        add(tmp_path, f"train/n{number}")
    (tmp_path / "images/train/folder.png").mkdir()
    os.mkfifo(tmp_path / "images/train/pipe.png")
    (fault,) = inspect(tmp_path).faults
    assert fault.startswith("images/train/pipe.png: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_inspect_reports_an_unreadable_file(tmp_path):
    for number in range(4):
        add(tmp_path, f"n{number}")
    (tmp_path / "images/n0.png").chmod(0)
    assert inspect(tmp_path).faults == ("images/n0.png: Permission denied",)
