"""comma10k: recognized by the colours of its masks, with its own validation pictures."""

from pathlib import Path

import numpy as np
from labelled import HEIGHT, WIDTH, mask_of, save_picture, understood
from PIL import Image

from autoseg.data.formats.comma10k import COLOURS


def save_mask(path: Path, *colours: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.array(colours, np.uint8)[np.arange(HEIGHT) % len(colours)]
    Image.fromarray(np.repeat(rows[:, None], WIDTH, 1)).save(path)


def test_comma10k_is_read_by_its_colours_and_split_by_its_names(tmp_path):
    for number in range(17, 22):
        save_picture(tmp_path / "imgs" / f"00{number}.png")
        save_mask(tmp_path / "masks" / f"00{number}.png", *COLOURS.values())
    (tmp_path / "imgs2").mkdir()
    seen = understood(tmp_path, "comma10k")
    assert seen.classes == ("road", "lane markings", "undrivable", "movable", "my car")
    assert (seen.pairs["train"], seen.pairs["val"]) == (4, 1)
    assert [sample.stem for sample in seen.splits["val"]] == ["0019"]
    assert list(mask_of(seen, "0018")[:5, 0]) == [0, 1, 2, 3, 4]
    assert any("not read: imgs2/" in warning for warning in seen.warnings)


def test_comma10k_is_not_taken_for_other_colours(tmp_path):
    for number in range(4):
        save_picture(tmp_path / "imgs" / f"{number}.png")
        save_mask(tmp_path / "masks" / f"{number}.png", (0, 0, 0), (64, 32, 32))
    (tmp_path / "label_colors.txt").write_text("0 0 0 rest\n64 32 32 road\n")
    assert understood(tmp_path, "plain").classes == ("rest", "road")
