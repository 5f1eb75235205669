"""Text is read, split and numbered as it says, and what it cannot use is refused by its place."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unstir.core.errors import InputError
from unstir.domains.text import text
from unstir.domains.text.data import TextData, read_text, windows
from unstir.domains.text.encoding import FOLDED, TextEncoding, restore
from unstir.domains.text.source import built_in_text, read_file

ALPHABET = "abcdefghij"


def letters(count, seed=0):
    return "".join(np.random.default_rng(seed).choice([*ALPHABET], count))


def test_the_built_in_text_is_english_and_says_no_long_paragraph_twice():
    whole = built_in_text()
    assert len(whole) > 250_000 and whole.count(" the ") > 1000
    long = [" ".join(part.split()) for part in whole.split("\n\n")]
    long = [part for part in long if len(part) >= 40]
    assert len(long) == len(set(long)) > 1000
    from pydoc_data.topics import topics

    lines = {line for page in topics.values() for line in page.split("\n")}
    assert all(line in lines for line in whole.split("\n"))  # left out, but nothing changed


def test_a_file_is_read_whatever_system_it_comes_from(tmp_path):
    file = tmp_path / "own.txt"
    file.write_bytes("\ufeffGrüße\r\nein\rzwei\n".encode())
    assert read_file(file) == ("own.txt", "Grüße\nein\nzwei\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"abc\xe9def", "not UTF-8: byte 3 .* is 0xe9"),
        ("abc".encode("utf-16-le"), "byte 1 is zero"),
        (b" \n ", "holds no text"),
    ],
)
def test_what_is_no_text_is_refused_by_its_place(tmp_path, content, said):
    file = tmp_path / "bad.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_text({"path": str(file)})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "nowhere.txt"}, "cannot be read"),
        ({"path": 3}, "the name of a text file"),
        ({"lenght": 3}, "did you mean 'length'"),
        ({"length": 1}, "at least 2"),
        ({"length": 1.5}, "a whole number"),
        ({"rare": 0}, "at least 1"),
        ({"gap": -1}, "at least 0"),
        ({"held_out": 1.0}, "from 0 to below 1"),
        ({"held_out": True}, "a share"),
        ({"part": "test"}, "Allowed: held-out, train"),
        ({"part": "held-out", "held_out": 0}, "nothing is held out"),
        ({"length": 10**6}, "fewer than one window"),
        ({"rare": 10**6}, "lower `data.rare`"),
    ],
)
def test_bad_options_are_answered(options, said):
    with pytest.raises(InputError, match=said):
        read_text(options)


def test_a_folder_is_answered_with_the_way_to_one_file(tmp_path):
    with pytest.raises(InputError, match="one text file"):
        read_text({"path": str(tmp_path)})


def test_the_end_is_held_out_behind_a_gap_and_no_window_reaches_it():
    whole = letters(1000)
    data = TextData(whole, "letters", length=20, held_out=0.1, gap=30, rare=1)
    assert data.encoding.decode(torch.from_numpy(data.codes[None].astype(np.int64))) == [whole[:870]]
    assert data.encoding.decode(torch.from_numpy(data.held_out[None].astype(np.int64))) == [whole[900:]]
    assert len(data) == 870 - 20 + 1
    state, condition = data.batch(np.array([850, 0, 17, 0]))
    assert data.encoding.decode(state) == [whole[place : place + 20] for place in (850, 0, 17, 0)]
    assert condition == {} and state.dtype == torch.int64 and state.shape[1:] == data.shape
    other = TextData(whole, "letters", length=20, held_out=0.1, gap=30, rare=1, part="held-out")
    assert other.encoding == data.encoding
    assert other.encoding.decode(other.batch(np.array([80]))[0]) == [whole[980:]]


def test_without_anything_held_out_all_is_for_training():
    data = TextData(letters(100), "letters", length=10, held_out=0, rare=1)
    assert len(data) == 91 and len(data.held_out) == 0


def test_the_vocabulary_is_the_training_parts_and_the_rest_is_one_class():
    whole = letters(900) + "x" * 5 + letters(45, 1) + "yyyé" + letters(46, 2)
    data = TextData(whole, "letters", length=10, held_out=0.05, gap=0, rare=6)
    assert data.encoding.characters == ALPHABET and data.encoding.classes == 11
    shown = data.encoding.decode(torch.from_numpy(data.codes[None].astype(np.int64)))[0]
    assert shown == whole[:950].replace("x", FOLDED).replace("y", FOLDED)[:950]
    assert data.encoding.encode("éaΩ").tolist() == [10, 0, 10]


@settings(max_examples=40)
@given(st.text(st.characters(codec="utf-8", exclude_characters=FOLDED), min_size=1, max_size=60))
def test_encoded_and_decoded_again_a_text_is_the_same(sample):
    encoding = TextEncoding.of(sample, 2, 1)
    for way in (encoding, restore(json.loads(json.dumps(encoding.record())))):
        codes = way.encode(sample)
        assert way.decode(torch.from_numpy(codes)[None]) == [sample]
        assert codes.max() < way.classes - 1  # nothing is rare


def test_states_that_are_no_clean_text_are_refused():
    encoding = TextEncoding("ab", 4)
    with pytest.raises(InputError, match="still masked"):
        encoding.decode(torch.tensor([[0, 1, 3, 0]]))
    assert encoding.show(torch.tensor([[0, 1, 3, 2]])) == [f"ab·{FOLDED}"]
    for wrong in (torch.zeros(2, 4), torch.zeros(4, dtype=torch.int64)):
        with pytest.raises(InputError, match="int64 of shape"):
            encoding.decode(wrong)


def test_the_digest_is_that_of_what_is_trained_on():
    whole = letters(1000)
    first = TextData(whole, "one", length=20, rare=1)
    assert first.digest == TextData(whole, "another name", length=20, rare=1).digest
    for other in (
        TextData("b" + whole[1:] if whole[0] != "b" else "a" + whole[1:], "one", length=20, rare=1),
        TextData(whole, "one", length=21, rare=1),
        TextData(whole, "one", length=20, rare=1, held_out=0.2),
        TextData(whole.replace("a", "A"), "one", length=20, rare=1),
    ):
        assert other.digest != first.digest


def test_windows_lie_side_by_side_and_spread_over_the_text():
    codes = np.arange(103)
    assert windows(codes, 10).flatten().tolist() == list(range(100))
    assert windows(codes, 10, 3)[:, 0].tolist() == [0, 40, 90]


def test_the_proposals_are_plain_values_for_this_text():
    data = TextData(letters(1000), "letters", length=20, rare=1)
    process, network = text.process(data), text.network(data)
    assert json.loads(json.dumps([process, network])) == [process, network]
    assert process["classes"] == 11 and network["name"] == "diffusion-transformer"
