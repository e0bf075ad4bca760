"""A .zip of a data set: unpacked once, and only where nothing in it leads out of its folder."""

import os
import stat
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from labelled import area, mask_of, save_picture
from PIL import Image

from autoseg.core.errors import InputError
from autoseg.data import archive, load
from autoseg.data.archive import folder_of
from autoseg.data.dataset import Reading
from autoseg.data.inspection import inspect
from autoseg.data.licence import licence_of


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def folder(root: Path) -> Path:
    """A data set in the plain layout."""
    for letter in "abcdef":
        save_picture(root / f"images/{letter}.png")
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(area(1, slice(9), slice(9))).save(root / f"masks/{letter}.png")
    (root / "classes.txt").write_text("floor\nbox\n")
    (root / "LICENSE").write_text("CC0\n")
    lines = (f"{letter},{'val' if letter > 'c' else 'train'}" for letter in "abcdef")
    (root / "index.csv").write_text("\n".join(["stem,split", *lines]))
    return root


def packed(root: Path, path: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for one in sorted(root.rglob("*")):
            if one.is_file():
                file.write(one, inside + one.relative_to(root).as_posix())
    return path


def unpacked() -> list[str]:
    return sorted(path.name for path in archive.cache_folder().iterdir())


@pytest.mark.parametrize("inside", ["", "set/", "downloads/set/"])
def test_inspect_zip_as_the_folder_that_it_holds(tmp_path, inside):
    root = folder(tmp_path / "set")
    path = packed(root, tmp_path / "set.ZIP", inside)
    reading = Reading(split_column="split")
    seen, same = inspect(path, reading), inspect(root, reading)
    assert (seen.faults, seen.format, seen.digest) == ((), "plain", same.digest)
    assert seen.classes == ("floor", "box") and seen.pairs == {"train": 3, "val": 3, "test": 0}
    np.testing.assert_array_equal(mask_of(seen), area(1, slice(9), slice(9)))
    assert licence_of(path) == "CC0 (LICENSE)"


def test_load_zip_is_unpacked_once_and_again_when_it_changes(tmp_path, monkeypatch):
    root = folder(tmp_path / "set")
    path = packed(root, tmp_path / "set.zip")
    first = load(path)
    (one,) = unpacked()
    with monkeypatch.context() as patched:
        patched.setattr(archive, "_unpack", None)  # would fail if it were called
        path = path.rename(tmp_path / "moved.zip")
        assert load(path).digest == first.digest
    (root / "images/g.png").write_bytes((root / "images/a.png").read_bytes())
    (root / "masks/g.png").write_bytes((root / "masks/a.png").read_bytes())
    os.utime(packed(root, path), ns=(1, 1))
    assert load(path).digest != first.digest
    assert len(unpacked()) == 2 and one in unpacked()


def made(path: Path, *names: str, mode: int = 0, **facts: int) -> Path:
    """A zip with small files of these names, which were written by Unix with a mode."""
    with zipfile.ZipFile(path, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            info = zipfile.ZipInfo()
            info.filename = name  # as it is: the constructor makes it harmless
            info.external_attr = mode << 16
            file.writestr(info, b"content")
    return path


@pytest.mark.parametrize(
    "name", ["../a.png", "images/../../a.png", "/etc/a.png", "C:/a.png", "c:a.png", "..\\a.png"]
)
def test_folder_of_zip_whose_names_lead_out_of_it_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="lead out of its folder"):
        folder_of(made(tmp_path / "x.zip", "images/b.png", name))
    assert not archive.cache_folder().exists() or not unpacked()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_folder_of_zip_with_links_or_devices_is_refused(tmp_path, kind):
    with pytest.raises(InputError, match="holds links or devices.* images/a.png"):
        folder_of(made(tmp_path / "x.zip", "images/a.png", mode=kind | 0o644))


def test_folder_of_zip_with_two_files_of_one_name_is_refused(tmp_path):
    with pytest.raises(InputError, match="several files of one name: a.png"):
        folder_of(made(tmp_path / "x.zip", "a.png", "a.png"))
    with pytest.raises(InputError, match="cannot be unpacked"):
        folder_of(made(tmp_path / "y.zip", "a", "a/b.png"))


def test_folder_of_zip_written_with_backslashes_has_folders(tmp_path):
    place = folder_of(made(tmp_path / "x.zip", "images\\a.png", "masks\\a.png"))
    assert (place / "images/a.png").is_file() and (place / "masks/a.png").is_file()


def test_folder_of_zip_leaves_out_what_macos_adds(tmp_path):
    place = folder_of(made(tmp_path / "x.zip", "set/a.png", "__MACOSX/set/._a.png"))
    assert [path.name for path in place.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("raw", "name"), [("Tür.png".encode(), "Tür.png"), ("Tür.png".encode("cp437"), "Tür.png")]
)
def test_folder_of_zip_whose_names_are_not_marked_as_utf_8(tmp_path, raw, name, caplog):
    path = made(tmp_path / "x.zip", "N" * len(raw))
    path.write_bytes(path.read_bytes().replace(b"N" * len(raw), raw))
    assert [found.name for found in folder_of(path).iterdir()] == [name]
    assert ("code page 437" in caplog.text) == (raw != name.encode())


def encrypted(path: Path) -> None:
    """Set the mark of encryption in both heads of the first entry."""
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"content", b"c0ntent"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def no_zip(path: Path) -> None:
    path.write_text("<html>please log in</html>")


def pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def other_method(path: Path) -> None:
    """Deflate64, which Windows writes for large files."""
    data = bytearray(path.read_bytes())
    data[8] = data[data.index(b"PK\x01\x02") + 10] = 9
    path.write_bytes(data)


def wrong_name(path: Path) -> None:
    """A name that is marked as UTF-8 and is none."""
    made(path, "\N{SNOWMAN}.png")
    path.write_bytes(path.read_bytes().replace("\N{SNOWMAN}".encode(), b"\xff\xfe\xfd"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (encrypted, "is encrypted .a.png.: unpack it with its password"),
        (damaged, "cannot be unpacked .Bad CRC-32.*unpack it yourself"),
        (cut, "is no zip file, or not all of it"),
        (no_zip, "is no zip file, or not all of it"),
        (pointer, "git lfs pull"),
        (other_method, "another method than Deflate .a.png.: unpack it yourself"),
        (wrong_name, "cannot be unpacked .*unpack it yourself"),
    ],
)
def test_folder_of_zip_that_cannot_be_unpacked_is_named(tmp_path, change, message):
    path = made(tmp_path / "x.zip", "a.png")
    change(path)
    with pytest.raises(InputError, match=message):
        folder_of(path)
    assert not archive.cache_folder().exists() or not unpacked()


def test_folder_of_zip_that_would_fill_the_disk_or_the_memory_is_refused(tmp_path, monkeypatch):
    path = made(tmp_path / "x.zip", *(f"{number}.png" for number in range(9)))
    for name, limit, message in (
        ("MAX_ENTRIES", 8, "has 9 entries, more than 8"),
        ("_MAX_SHARE_OF_FREE", 0, "are free in"),
        ("MAX_DIRECTORY_BYTES", 99, "has a directory of 1 MiB"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(archive, name, limit)
            with pytest.raises(InputError, match=message):
                folder_of(path)
    assert len(list(folder_of(path).iterdir())) == 9


def test_folder_of_zip_bomb_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_SMALL_BYTES", 2**20)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.bmp", bytes(2**22))
    with pytest.raises(InputError, match="over 200 times as much"):
        folder_of(path)
    # A stated size that is too small does not help.
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.index(b"PK\x01\x02") + 24, 100)
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be unpacked"):
        folder_of(path)
    assert not archive.cache_folder().exists() or not unpacked()


@pytest.mark.parametrize("stated", [200 * 2**20, 2**40])
@pytest.mark.parametrize("comment", [b"", b"about it"])
def test_folder_of_zip_with_a_huge_directory_is_refused(tmp_path, stated, comment):
    path = made(tmp_path / "x.zip", "a.png")
    data = path.read_bytes()
    end = data.rindex(b"PK\x05\x06")
    small, record = data[:end], bytearray(data[end:] + comment)
    record[20:22] = struct.pack("<H", len(comment))
    if stated < 2**32:
        record[12:16] = struct.pack("<L", stated)
    else:  # in the record of 64 bits
        large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, stated, 0)
        small += large + struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    path.write_bytes(small + record)
    with pytest.raises(InputError, match="has a directory of"):
        folder_of(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("set.tar", "unpack it and give the folder"),
        ("set.tar.gz", "unpack it and give the folder"),
        ("set.7z", "unpack it and give the folder"),
        ("set.rar", "unpack it and give the folder"),
        ("set.parquet", "write its pictures and masks as files"),
        ("train.csv", "give the folder that holds"),
    ],
)
def test_folder_of_other_file_is_refused_with_the_way_out(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"data")
    with pytest.raises(InputError, match=f"{name} is.*{message}"):
        inspect(tmp_path / name)
