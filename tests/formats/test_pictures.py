"""Folders of pictures: what is read, what is refused, and that it is streamed."""

import numpy as np
import pytest
from PIL import Image

from unstir.core.errors import InputError
from unstir.formats.base import read
from unstir.formats.picture_files import PictureRows
from unstir.formats.png import png_bytes
from unstir.formats.survey import survey

ALL = slice(None)


def random_pixels(seed: int, *shape: int, dtype: str = "uint8") -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def rows(samples):
    return samples.values[np.arange(len(samples))]


@pytest.mark.parametrize(
    ("ending", "channels"),
    [
        *((ending, channels) for ending in ("png", "tif") for channels in ((), (3,), (4,))),
        *(("webp", channels) for channels in ((3,), (4,))),
        *(("bmp", channels) for channels in ((), (3,))),
    ],
)
def test_lossless_pictures_come_back_as_they_were(tmp_path, ending, channels):
    pixels = random_pixels(0, 5, 6, 7, *channels)
    if channels == (4,):
        pixels[..., 3] |= 1  # WebP drops the colour beneath full transparency
    for number, picture in enumerate(pixels):
        save(tmp_path / f"{number}.{ending}", picture, **({"lossless": True} if ending == "webp" else {}))
    samples = read(tmp_path)
    assert samples.values.dtype == np.uint8 and samples.labels is None
    np.testing.assert_array_equal(rows(samples), pixels)


def test_jpeg_is_close_to_what_was_saved_and_turned_as_its_orientation_says(tmp_path):
    ramp = np.add.outer(np.arange(16), 4 * np.arange(24)).astype(np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned clockwise
    save(tmp_path / "a.jpg", ramp, quality=95, exif=turned)
    samples = read(tmp_path)
    assert samples.shape == (24, 16)
    assert np.abs(rows(samples)[0].astype(int) - np.rot90(ramp, -1)).max() <= 8


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bit_grey_keeps_its_depth(tmp_path, ending):
    pixels = random_pixels(1, 3, 5, 4, dtype="uint16")
    for number, picture in enumerate(pixels):
        save(tmp_path / f"{number}.{ending}", picture)
    samples = read(tmp_path)
    assert samples.values.dtype == np.uint16
    np.testing.assert_array_equal(rows(samples), pixels)


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_colour_keeps_its_depth(tmp_path, channels):
    tifffile = pytest.importorskip("tifffile")
    pixels = random_pixels(2, 2, 5, 4, channels, dtype="uint16")
    (tmp_path / "a.png").write_bytes(png_bytes(pixels[0]))
    tifffile.imwrite(tmp_path / "b.tif", pixels[1], photometric="rgb")
    samples = read(tmp_path)
    assert samples.values.dtype == np.uint16
    np.testing.assert_array_equal(rows(samples), pixels)


def test_real_valued_tiff(tmp_path):
    pixels = np.random.default_rng(3).normal(size=(4, 5)).astype(np.float32)
    save(tmp_path / "a.tif", pixels)
    samples = read(tmp_path)
    assert samples.values.dtype == np.float32
    np.testing.assert_array_equal(rows(samples)[0], pixels)


def test_sub_folders_are_classes_in_order_of_their_names(tmp_path):
    for number, name in enumerate(["cat/a.png", "dog/a.png", "ant/x.png", "cat/b.png"]):
        save(tmp_path / name, np.full((2, 2), number, np.uint8))
    samples = read(tmp_path)
    assert samples.label_names == ("ant", "cat", "dog")
    assert samples.labels.tolist() == [0, 1, 1, 2]
    assert list(samples.row_names) == ["ant/x.png", "cat/a.png", "cat/b.png", "dog/a.png"]
    assert rows(samples)[:, 0, 0].tolist() == [2, 0, 3, 1]


@pytest.mark.parametrize("spelling", ["{}.png", "{}", "elsewhere/{}.png"])
def test_labels_from_a_column_matched_by_file_name_in_any_order(tmp_path, spelling):
    for name in "abc":
        save(tmp_path / f"{name}.png", random_pixels(0, 2, 2))
    lines = [
        f"{spelling.format(name)},{kind},{number}"
        for name, kind, number in [("c", "ox", 7), ("a", "elk", 2), ("b", "ox", 7)]
    ]
    (tmp_path / "table.csv").write_text("\n".join(["file,kind,number", *lines]))
    samples = read(tmp_path, labels="table.csv", column="kind")
    assert samples.label_names == ("elk", "ox") and samples.labels.tolist() == [0, 1, 1]
    samples = read(tmp_path, labels=str(tmp_path / "table.csv"), column="number")
    assert samples.label_names == ("2", "7") and samples.labels.tolist() == [0, 1, 1]
    with pytest.raises(InputError, match=r"which column holds the labels.*kind, number"):
        read(tmp_path, labels="table.csv")
    with pytest.raises(InputError, match="unknown column of labels 'kin'; did you mean 'kind'"):
        read(tmp_path, labels="table.csv", column="kin")
    save(tmp_path / "d.png", random_pixels(0, 2, 2))
    with pytest.raises(InputError, match=r"no column .* names all of the pictures"):
        read(tmp_path, labels="table.csv", column="kind")


def test_mixed_modes_go_into_the_richest_without_loss(tmp_path):
    grey, colour = random_pixels(0, 3, 3), random_pixels(1, 3, 3, 3)
    save(tmp_path / "a.png", grey)
    save(tmp_path / "b.png", colour)
    values = rows(read(tmp_path))
    np.testing.assert_array_equal(values[0], np.repeat(grey[..., None], 3, -1))
    np.testing.assert_array_equal(values[1], colour)
    luma = rows(read(tmp_path, mode="grey"))
    np.testing.assert_allclose(luma[1], colour @ [0.299, 0.587, 0.114], atol=0.51)


def test_opacity_is_laid_on_white_when_the_mode_has_none(tmp_path):
    save(tmp_path / "a.png", np.array([[[10, 20, 30, 0], [10, 20, 30, 255]]], np.uint8))
    assert rows(read(tmp_path, mode="rgb"))[0].tolist() == [[[255, 255, 255], [10, 20, 30]]]


def test_palette_pictures_are_read_as_colour(tmp_path):
    image = Image.fromarray(random_pixels(0, 4, 4, 3)).quantize(8)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(rows(read(tmp_path))[0], np.asarray(image.convert("RGB")))


def test_mixed_sizes_are_refused_with_the_sizes_seen_and_the_way_out(tmp_path):
    for number in range(7):
        save(tmp_path / f"{number}.png", random_pixels(0, 8, 10 if number == 3 else 8))
    with pytest.raises(InputError, match=r"2 sizes.*6 of 8x8, 1 of 8x10; unlike most: 3\.png\. Say `data\.size=8`"):
        read(tmp_path)
    assert read(tmp_path, size=8).shape == (8, 8)
    assert read(tmp_path, size=[4, 6]).shape == (4, 6)
    for wrong in (0, [4], "8", [4, 5.5]):
        with pytest.raises(InputError, match="one number of pixels, or"):
            read(tmp_path, size=wrong)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_resizing_averages_and_crops_about_the_centre(tmp_path, dtype):
    fine = np.zeros((32, 64), dtype)
    fine[:, 16:48] = np.indices((32, 32)).sum(0) % 2 * np.iinfo(dtype).max  # a chequerboard, with black on either side
    save(tmp_path / "a.png", fine)
    small = rows(read(tmp_path, size=8))[0] / np.iinfo(dtype).max
    # without antialiasing the chequerboard would come out black or white; the black sides would show at the edge
    assert np.abs(small[:, 1:-1] - 0.5).max() < 0.05 and small[:, [0, -1]].min() > 0.3


def test_different_depths_are_refused(tmp_path):
    save(tmp_path / "a.png", random_pixels(0, 4, 4))
    save(tmp_path / "b.png", random_pixels(0, 4, 4))
    save(tmp_path / "deep.png", random_pixels(0, 4, 4, dtype="uint16"))
    with pytest.raises(InputError, match=r"depths: 2 of uint8, 1 of uint16; unlike most: deep\.png"):
        read(tmp_path)


def test_files_that_are_no_pictures_are_named_all_together(tmp_path):
    save(tmp_path / "good.png", random_pixels(0, 4, 4))
    (tmp_path / "text.png").write_text("I am a text")
    (tmp_path / "void.jpg").touch()
    with pytest.raises(InputError, match=r"text\.png, void\.jpg \(2 in all\).*not a picture"):
        read(tmp_path)


def test_pictures_cut_off_are_named_all_together_by_the_survey(tmp_path):
    for number in range(9):
        save(tmp_path / f"{number}.png", random_pixels(number, 40, 40))
        if number != 4:
            content = (tmp_path / f"{number}.png").read_bytes()
            (tmp_path / f"{number}.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        InputError, match=r"0\.png, 1\.png, 2\.png, 3\.png, 5\.png and 3 more \(8 in all\): cannot be read"
    ):
        survey(read(tmp_path))


def test_damaged_sixteen_bit_colour_is_named(tmp_path):
    content = bytearray(png_bytes(random_pixels(0, 8, 8, 3, dtype="uint16")))
    content[60] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png: cannot be read \(chunk b'IDAT' is damaged\)"):
        survey(read(tmp_path))


def test_several_pages_in_a_file_are_refused(tmp_path):
    pages = [Image.fromarray(random_pixels(number, 4, 4)) for number in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="3 pictures in one file"):
        read(tmp_path)


def test_classes_need_every_picture_in_a_sub_folder(tmp_path):
    save(tmp_path / "a" / "1.png", random_pixels(0, 2, 2))
    save(tmp_path / "stray.png", random_pixels(0, 2, 2))
    with pytest.raises(InputError, match=r"lie in none: stray\.png.*data\.labels=false"):
        read(tmp_path)


def test_hidden_and_other_files_are_passed_over(tmp_path):
    save(tmp_path / "a.png", random_pixels(0, 2, 2))
    (tmp_path / "._a.png").write_text("another program's")
    (tmp_path / "README.md").write_text("about")
    assert len(read(tmp_path)) == 1


def test_unknown_options_and_modes_are_answered_with_the_nearest(tmp_path):
    save(tmp_path / "a.png", random_pixels(0, 2, 2))
    with pytest.raises(InputError, match=r"unknown option 'sice'.*did you mean 'size'"):
        read(tmp_path, sice=3)
    with pytest.raises(InputError, match="unknown mode of pictures 'gray'; did you mean 'grey'"):
        read(tmp_path, mode="gray")


def test_a_folder_without_pictures(tmp_path):
    with pytest.raises(InputError, match=r"no format recognises it. Looked for: .*pictures: a folder with pictures"):
        read(tmp_path)
    with pytest.raises(InputError, match="holds no pictures"):
        read(tmp_path, "pictures")


def test_a_folder_is_streamed(tmp_path, monkeypatch):
    for number in range(20):
        save(tmp_path / f"{number:02d}.png", np.full((4, 4), number, np.uint8))
    decoded = []
    decode = PictureRows._picture
    monkeypatch.setattr(PictureRows, "_picture", lambda self, file: decoded.append(file.name) or decode(self, file))
    samples = read(tmp_path)
    assert not decoded  # sizes and modes come from the headers alone
    assert samples.values[np.array([7, 3, 7])][:, 0, 0].tolist() == [7, 3, 7]
    assert sorted(decoded) == ["03.png", "07.png", "07.png"]
