"""Pictures in and out: what lies beside the pixels stays, opacity is a mask, crops have addresses, style is texture."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.images.crops import Crops, single_picture
from unstir.domains.images.data import read_images
from unstir.domains.images.editing import read_mask, read_picture, write_picture
from unstir.domains.images.profile_writing import Keepsakes, png_with, upright
from unstir.domains.images.style import StyleEnergy
from unstir.formats.base import Samples
from unstir.formats.png import read_deep_png

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pixels(channels=3, size=(6, 5), dtype=np.uint8, seed=0):
    drawn = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (*size, channels), dtype, endpoint=True)
    return drawn[..., 0] if channels == 1 else drawn


def exif(orientation=None):
    made = Image.Exif()
    made[0x010E] = "a picture of ours"
    made[0x0131] = "a program"
    if orientation:
        made[0x0112] = orientation
    return made.tobytes()


def saved(place, array, **what):
    Image.fromarray(array).save(place, **what)
    return place


class TestKeepsakes:
    def test_profile_and_exif_come_out_byte_for_byte(self, tmp_path):
        source = saved(tmp_path / "in.png", pixels(), icc_profile=PROFILE, exif=exif(), dpi=(300, 300))
        picture = read_picture(source)
        out = write_picture(tmp_path / "out.png", picture.values, picture)
        with Image.open(source) as before, Image.open(out) as after:
            assert after.info["icc_profile"] == PROFILE == before.info["icc_profile"]
            assert after.info["exif"] == before.info["exif"] and after.getexif()[0x010E] == "a picture of ours"
            assert after.info["dpi"] == pytest.approx((300, 300), abs=0.05)
            np.testing.assert_array_equal(np.asarray(after), np.asarray(before))

    def test_a_turned_photograph_is_upright_once(self, tmp_path):
        array = np.zeros((8, 16, 3), np.uint8)
        array[:4, :8] = 250
        source = saved(tmp_path / "in.jpg", array, exif=exif(6), quality=95)
        picture = read_picture(source)
        assert picture.size == (16, 8) and picture.values[:, 2, 6].min() > 0.9
        out = write_picture(tmp_path / "out.png", picture.values, picture)
        with Image.open(out) as after:
            assert after.getexif()[0x0112] == 1 and after.getexif()[0x0131] == "a program" and after.size == (8, 16)
        raw = exif(6).removeprefix(b"Exif\x00\x00")
        changed = [place for place, (a, b) in enumerate(zip(raw, upright(raw), strict=True)) if a != b]
        assert len(changed) == 1 and upright(b"not a TIFF") == b"not a TIFF"

    def test_sixteen_bits_stay_and_carry_them_too(self):
        array = pixels(3, dtype=np.uint16)
        made = png_with(array, Keepsakes(PROFILE, exif().removeprefix(b"Exif\x00\x00"), (72.0, 72.0)))
        np.testing.assert_array_equal(read_deep_png(made), array)
        with Image.open(io.BytesIO(made)) as image:
            assert image.info["icc_profile"] == PROFILE and image.getexif()[0x0131] == "a program"

    def test_only_png_is_written(self, tmp_path):
        picture = read_picture(saved(tmp_path / "in.png", pixels()))
        with pytest.raises(InputError, match="written as PNG"):
            write_picture(tmp_path / "out.jpg", picture.values, picture)


class TestReading:
    def test_opacity_is_set_apart_and_kept_pixels_are_those_of_the_file(self, tmp_path):
        array = pixels(4)
        array[..., 3] = 255
        array[2:4, 1:3, 3] = (0, 100)
        picture = read_picture(saved(tmp_path / "in.png", array), 3)
        assert picture.values.shape == (3, 6, 5) and picture.opaque is not None
        assert picture.opaque.sum() == 30 - 4 and not picture.opaque[2:4, 1:3].any()
        out = write_picture(tmp_path / "out.png", torch.zeros(3, 6, 5), picture, picture.opaque)
        found, where = np.asarray(Image.open(out)), picture.opaque.numpy()
        np.testing.assert_array_equal(found[where], array[..., :3][where])
        assert (found[~where] == 128).all()

    @pytest.mark.parametrize(("channels", "wanted"), [(1, 3), (3, 1), (4, 4), (3, 4), (1, 1)])
    def test_modes_become_what_the_network_takes(self, tmp_path, channels, wanted):
        array = pixels(channels)
        values = read_picture(saved(tmp_path / "in.png", array), wanted).values
        assert values.shape == (wanted, 6, 5) and values.dtype == torch.float32 and values.abs().max() <= 1
        if wanted == 1 and channels == 3:
            luma = (array @ np.array([0.299, 0.587, 0.114])) / 127.5 - 1
            np.testing.assert_allclose(values[0], luma, atol=1e-6)
        if (channels, wanted) == (3, 4):
            assert (values[3] == 1).all()

    def test_every_level_survives_the_round_trip(self, tmp_path):
        for dtype in (np.uint8, np.uint16):
            levels = np.arange(256, dtype=dtype).reshape(16, 16) * (1 if dtype == np.uint8 else 257)
            picture = read_picture(saved(tmp_path / "levels.png", levels))
            out = write_picture(tmp_path / "again.png", picture.values, picture)
            np.testing.assert_array_equal(np.asarray(Image.open(out)), levels)

    def test_masks_are_light_where_all_is_made_anew(self, tmp_path):
        drawn = np.zeros((6, 5), np.uint8)
        drawn[:2] = 200
        mask = read_mask(saved(tmp_path / "mask.png", drawn), (6, 5))
        assert mask[:2].all() and not mask[2:].any()
        with pytest.raises(InputError, match="has the picture's size"):
            read_mask(tmp_path / "mask.png", (5, 6))
        with pytest.raises(InputError, match="all dark"):
            read_mask(saved(tmp_path / "dark.png", 0 * drawn), (6, 5))

    def test_a_larger_canvas_knows_where_the_picture_was(self, tmp_path):
        picture = read_picture(saved(tmp_path / "in.png", pixels()))
        larger, kept = picture.outpainted(1, 2, 3, 4)
        assert larger.size == (12, 9) and kept[2:8, 1:6].all() and kept.sum() == 30
        torch.testing.assert_close(larger.values[:, 2:8, 1:6], picture.values)
        out = write_picture(tmp_path / "out.png", torch.ones(3, 12, 9), larger, kept)
        np.testing.assert_array_equal(np.asarray(Image.open(out))[2:8, 1:6], pixels())
        for wrong in ((0, 0, 0, 0), (-1, 0, 0, 1)):
            with pytest.raises(InputError, match="a canvas grows by whole pixels"):
                picture.outpainted(*wrong)

    def test_what_is_no_picture_is_refused(self, tmp_path):
        (tmp_path / "text.png").write_text("no picture")
        with pytest.raises(InputError, match="cannot be read as a picture"):
            read_picture(tmp_path / "text.png")
        with pytest.raises(InputError, match="no such picture file"):
            read_picture(tmp_path / "none.png")
        with pytest.raises(InputError, match="8 or 16 bits"):
            read_picture(saved(tmp_path / "real.tif", np.zeros((3, 3), np.float32)))
        with pytest.raises(InputError, match="1, 3 or 4 channels"):
            read_picture(saved(tmp_path / "in.png", pixels()), 2)
        with pytest.raises(InputError, match="unknown sample picture"):
            read_picture("skimage:astronut")


class TestCrops:
    def data(self, tmp_path, **crops):
        saved(tmp_path / "one.png", pixels(3, (20, 24)))
        return read_images({"path": str(tmp_path / "one.png"), "crops": {"size": 8, "count": 60, **crops}})

    def test_each_is_a_piece_of_the_picture_the_same_every_time(self, tmp_path):
        data = self.data(tmp_path)
        assert len(data) == 60 and data.shape == (3, 8, 8)
        whole, _ = read_images({"path": str(tmp_path / "one.png")}).batch(np.array([0]))
        pieces = whole[0].unfold(1, 8, 1).unfold(2, 8, 1)
        batch, _ = data.batch(np.arange(60))
        places = set()
        for crop in batch:
            hits = (pieces == crop[:, None, None]).all(0).flatten(2).all(2).nonzero().tolist()
            assert len(hits) == 1
            places.add(tuple(hits[0]))
        assert len(places) > 40
        again, _ = data.batch(np.array([17, 3]))
        assert torch.equal(again, batch[[17, 3]]) and data.digest == self.data(tmp_path).digest
        assert data.digest != self.data(tmp_path, seed=1).digest

    def test_flips_and_turns(self, tmp_path):
        plain, _ = self.data(tmp_path).batch(np.arange(60))
        flipped, _ = self.data(tmp_path, flip="both").batch(np.arange(60))
        ways = [plain, plain.flip(3), plain.flip(2), plain.flip(2, 3)]
        which = torch.stack([(flipped == way).flatten(1).all(1) for way in ways])
        assert which.any(0).all() and (which.sum(1) > 4).all()  # each a quarter of 60; below 5 with chance 3e-4
        turned, _ = self.data(tmp_path, quarter_turns=True).batch(np.arange(60))
        which = torch.stack([(turned == plain.rot90(k, (2, 3))).flatten(1).all(1) for k in range(4)])
        assert which.any(0).all() and (which.sum(1) > 4).all()

    def test_labels_stay_with_the_crops_of_their_pictures(self):
        values = np.stack([np.full((9, 9), 10 * number, np.uint8) for number in range(3)])
        values[:, 0, 0] = 255
        samples = Samples(values, "three", np.array([0, 1, 2]))
        cut = Crops(4, 40).taken_from(samples)
        found = cut.values[np.arange(40)]
        np.testing.assert_array_equal(np.median(found, (1, 2)), 10 * cut.labels)
        assert set(cut.labels.tolist()) == {0, 1, 2}

    def test_a_single_picture_is_resized_when_asked(self):
        samples = single_picture("skimage:gravel", size=64)
        assert samples.shape == (64, 64) and len(samples) == 1

    @pytest.mark.parametrize(
        ("crops", "said"),
        [
            ({"size": 30}, "do not fit in pictures of 20 by 24"),
            ({"size": 0}, "whole number from 1"),
            ({"flip": "sideways"}, "unknown flip of crops"),
            ({"sise": 8}, "did you mean 'size'"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, tmp_path, crops, said):
        with pytest.raises(InputError, match=said):
            self.data(tmp_path, **crops)

    def test_options_of_other_kinds(self, tmp_path):
        self.data(tmp_path)
        with pytest.raises(InputError, match="a size, or options"):
            read_images({"path": str(tmp_path / "one.png"), "crops": "many"})
        with pytest.raises(InputError, match="unknown option 'labls'"):
            read_images({"path": str(tmp_path / "one.png"), "labls": "folders"})


class TestStyle:
    def stripes(self, turned=False, phase=0):
        line = torch.sin((torch.arange(48) + phase) * 1.3)
        return (line[:, None] if turned else line[None]).expand(1, 48, 48)

    def test_it_is_of_texture_and_not_of_place(self):
        energy = StyleEnergy([self.stripes()])
        same, moved, other, blank = (
            energy(picture[None]).item()
            for picture in (self.stripes(), self.stripes(phase=9), self.stripes(True), torch.zeros(1, 48, 48))
        )
        assert same < 1e-12 and moved < 0.05 * other and blank > 0.2

    def test_gradients_are_each_pictures_own(self):
        energy = StyleEnergy([self.stripes()])
        pictures = Seeds.range(0, 3).normal((1, 16, 16)).requires_grad_()
        (together,) = torch.autograd.grad(energy(pictures).sum(), pictures)
        alone = pictures.detach()[1:2].requires_grad_()
        (one,) = torch.autograd.grad(energy(alone).sum(), alone)
        torch.testing.assert_close(together[1:2], one)

    def test_following_the_gradient_leads_to_the_style(self):
        energy, picture = StyleEnergy([self.stripes()]), 0.1 * Seeds.range(0, 1).normal((1, 32, 32))
        before = energy(picture).item()
        for _ in range(40):
            given = picture.detach().requires_grad_()
            (slope,) = torch.autograd.grad(energy(given).sum(), given)
            picture = given.detach() - 0.05 * slope / slope.abs().max()
        assert energy(picture).item() < 0.3 * before

    def test_what_is_no_style_is_refused(self):
        with pytest.raises(InputError, match="one or more pictures"):
            StyleEnergy([])
        with pytest.raises(InputError, match="one number of channels"):
            StyleEnergy([torch.zeros(1, 8, 8), torch.zeros(3, 8, 8)])
