"""Pictures of structures: what is drawn is what is there, and nothing is fetched."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from unstir.core.errors import InputError
from unstir.domains.matter.painting import painted, tiled
from unstir.domains.matter.scene import ball, colour, legend, oriented, pieces, sticks_of, turn
from unstir.domains.matter.viewer import bounds, drawn, sheet, view

NUMBERS = np.array([8, 1, 1, 6])
PLACES = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [5.0, 1.0, 2.0]])
SVG = "{http://www.w3.org/2000/svg}"


def test_near_atoms_are_joined_where_no_bonds_are_told():
    assert sticks_of(PLACES, NUMBERS, None).tolist() == [[0, 1, 1], [0, 2, 1]]
    assert sticks_of(PLACES, NUMBERS, [(0, 3)]).tolist() == [[0, 3, 1]]
    assert sticks_of(PLACES, NUMBERS, []).tolist() == []
    table = np.zeros((4, 4), dtype=int)
    table[0, 3] = table[3, 0] = 2
    assert sticks_of(PLACES, NUMBERS, table).tolist() == [[0, 3, 2]]


@pytest.mark.parametrize(
    ("bonds", "told"),
    [([(0, 4)], "not there"), ([(0, 1, 2, 3)], r"\(m, 2\)"), ([(-1, 0)], "not there")],
)
def test_bonds_that_cannot_be_are_refused(bonds, told):
    with pytest.raises(InputError, match=told):
        sticks_of(PLACES, NUMBERS, bonds)


def test_a_picture_has_a_ball_an_atom_and_lines_for_each_order():
    table = np.zeros((4, 4), dtype=int)
    for first, second, order in ((0, 1, 1), (0, 2, 2), (0, 3, 3)):
        table[first, second] = table[second, first] = order
    root = ElementTree.fromstring(drawn(PLACES, NUMBERS, table, caption="a < b"))
    assert len(root.findall(f"{SVG}circle")) == 4
    assert len(root.findall(f"{SVG}path")) == 2 * 2 * (1 + 2 + 3)  # two halves, rim and core, a line an order
    assert root.find(f"{SVG}text").text == "a < b"
    small, large = (
        max(
            float(circle.get("r"))
            for circle in ElementTree.fromstring(drawn(PLACES, NUMBERS, scale=scale)).iter(f"{SVG}circle")
        )
        for scale in (10.0, 30.0)
    )
    assert large == pytest.approx(3 * small, rel=0.02)


def test_what_is_near_is_painted_last_and_larger():
    far = pieces(np.array([[0.0, 0, -3], [0, 0, 3]]), np.array([6, 6]), [], view=None)
    assert [piece.atom for piece in far] == [0, 1]
    assert far[1].width > ball(6) > far[0].width
    assert sum(far[0].colour) > sum(far[1].colour)  # paler with the distance


def test_a_structure_is_turned_and_never_mirrored():
    rng = np.random.default_rng(0)
    for _ in range(20):
        places = rng.normal(size=(5, 3)) * [1, 3, 2]
        seen, _ = oriented(places)
        first, second = (each - each.mean(0) for each in (places, seen))
        assert np.linalg.det(first[:3]) * np.linalg.det(second[:3]) > 0
        assert np.linalg.norm(first[:, None] - first, axis=-1) == pytest.approx(
            np.linalg.norm(second[:, None] - second, axis=-1)
        )
        # however it lies, it is seen the same way
        again, _ = oriented(places @ turn(*rng.normal(size=2)) + 4)
        assert again == pytest.approx(seen, abs=1e-9)
    cell = np.array([[3.0, 0, 0], [0.2, 4, 0], [0, 0.3, 5]])
    places, frame = oriented(rng.normal(size=(2, 3)), cell)
    assert np.linalg.det(frame) == pytest.approx(np.linalg.det(cell))


def test_a_cell_has_twelve_edges():
    cell = 4 * np.eye(3)
    found = [piece for piece in pieces(PLACES % 4, NUMBERS, [], cell) if piece.kind == "edge"]
    assert len(found) == 12 * 8
    low, high = bounds(found)
    assert (high - low > 4).all()


def test_elements_have_colours_of_their_own_and_a_legend():
    assert len({colour(number) for number in range(119)}) > 100
    assert [name for name, _ in legend(np.array([8, 6, 6, 0]))] == ["?", "C", "O"]


def test_a_page_holds_the_atoms_and_fetches_nothing():
    page = view(PLACES, NUMBERS, title="water & <carbon>")
    assert "water &amp; &lt;carbon&gt;" in page and "<carbon>" not in page
    assert not re.search(r"(src|href)\s*=|https?://(?!www\.w3\.org)|@import|fetch\(|XMLHttp", page)
    told = json.loads(re.search(r"(\{\"atoms\".*?\})\s*[;<]", page, re.DOTALL).group(1))
    places = np.array([atom[:3] for atom in told["atoms"]])
    assert np.linalg.norm(places[0] - places[1]) == pytest.approx(0.96, abs=1e-3)
    assert len(told["atoms"]) == 4


def test_pictures_stand_beside_each_other():
    one = drawn(PLACES, NUMBERS, size=50)
    root = ElementTree.fromstring(sheet([one] * 3, 2, (50, 50), ("first", "second & last")))
    inner = root.findall(f"{SVG}svg")
    assert [(each.get("x"), each.get("y")) for each in inner] == [("0", "18"), ("50", "18"), ("0", "86")]
    assert [text.text for text in root.findall(f"{SVG}text")] == ["first", "second & last"]


def test_pixels_show_the_colours_of_the_elements():
    picture = painted(pieces(PLACES, NUMBERS), 64)
    assert picture.shape == (64, 64, 3)
    red = (picture[..., 0].astype(int) - picture[..., 1]) > 90
    assert red.any()  # oxygen
    several = tiled(3, lambda place: painted(pieces(PLACES, NUMBERS), 32), 32, columns=2, padding=1)
    assert several.shape == (68, 68, 3)
    assert (several[34:, 34:] == 255).all()


@pytest.mark.parametrize(
    ("places", "numbers", "cell", "told"),
    [
        (np.zeros((0, 3)), np.zeros(0, dtype=int), None, "one atom"),
        (np.zeros((2, 2)), np.array([1, 1]), None, r"\(n, 3\)"),
        (np.full((1, 3), np.nan), np.array([1]), None, "finite"),
        (np.zeros((1, 3)), np.array([1]), np.zeros((2, 3)), "cell"),
    ],
)
def test_what_cannot_be_drawn_is_refused(places, numbers, cell, told):
    for draw in (drawn, view):
        with pytest.raises(InputError, match=told):
            draw(places, numbers, None, cell)
