"""Samples come out as files and as a picture."""

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.domains.text.drawing import draw_text, wrapped
from unstir.domains.text.encoding import TextEncoding
from unstir.domains.text.writing import write_text

ENCODING = TextEncoding("\n abcé", 6)
TEXTS = ["ab ca\n", "éé\nabc", "      "]
STATE = torch.stack([torch.from_numpy(ENCODING.encode(text)) for text in TEXTS])


def test_each_sample_has_a_file_with_its_characters_and_nothing_else(tmp_path):
    files = write_text(ENCODING, STATE, tmp_path / "new", first=7)
    assert [file.name for file in files] == ["000007.txt", "000008.txt", "000009.txt"]
    assert [file.read_bytes().decode() for file in files] == TEXTS
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [file.name for file in files]
    assert write_text(ENCODING, STATE, tmp_path / "new", first=7) == files  # the same again


def test_one_file_holds_them_all_under_their_numbers(tmp_path):
    (file,) = write_text(ENCODING, STATE, tmp_path, first=3, kind="one")
    assert file.name == "samples-000003.txt"
    assert file.read_text() == "".join(f"----- sample {3 + row}\n{text}\n" for row, text in enumerate(TEXTS))


def test_other_samples_are_not_written_over_unless_asked(tmp_path):
    write_text(ENCODING, STATE, tmp_path)
    with pytest.raises(InputError, match="other samples here"):
        write_text(ENCODING, STATE.flip(0), tmp_path)
    assert (tmp_path / "000000.txt").read_text() == TEXTS[0]
    write_text(ENCODING, STATE.flip(0), tmp_path, overwrite=True)
    assert (tmp_path / "000000.txt").read_text() == TEXTS[2]


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match="Allowed: files, one"):
        write_text(ENCODING, STATE, tmp_path, kind="doc")
    with pytest.raises(InputError, match="no labels"):
        write_text(ENCODING, STATE, tmp_path, labels=torch.zeros(3))
    with pytest.raises(InputError, match="still masked"):
        write_text(ENCODING, STATE + 6, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_picture_shows_every_change_of_a_sample():
    picture = draw_text(ENCODING, STATE, columns=2)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    for row in range(len(STATE)):
        changed = STATE.clone()
        changed[row] = ENCODING.encode("a")[0]
        assert not np.array_equal(draw_text(ENCODING, changed, columns=2), picture)
    assert draw_text(ENCODING, STATE + 7).min() < 128  # masked text can be seen as well
    assert draw_text(TextEncoding("語Ω", 2), torch.tensor([[0, 1]])).size  # whatever the font knows


def test_lines_are_broken_and_nothing_is_left_out():
    assert wrapped("ab\ncdef", 3) == ["ab⏎", "cde", "f"]
    assert wrapped("", 3) == [""]
