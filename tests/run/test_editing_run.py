"""The verb `edit` on a run of a few steps: pixels kept, profiles kept, every restoration, every refusal."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from unstir.core.errors import InputError
from unstir.run.editing import EditOptions, edit_run
from unstir.run.folder import RunFolder
from unstir.run.recipe import load
from unstir.run.sampling import TrainedRun
from unstir.run.training import train_run

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SMALL = (
    "network={name: unet, widths: [8, 8], blocks: 1, attention: []}",
    "training.steps=4",
    "training.batch=8",
    "training.threads=null",
    "sampling.steps=3",
    "sampling.count=4",
    "sampling.batch=4",
)


def trained(place, *changes, recipe="digits"):
    train_run(load(recipe, [*SMALL, *changes]), place, progress=False)
    return TrainedRun(RunFolder.open(place))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """The recipe of one picture in miniature, in colour."""
    place = tmp_path_factory.mktemp("runs")
    array = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(array).save(place / "one.png")
    changes = (f"data.path={place / 'one.png'}", "data.size=null", "data.crops.size=8", "data.crops.count=40")
    return trained(place / "one-picture", *changes, recipe="one-picture")


def saved(place, array, **what):
    Image.fromarray(array).save(place, **what)
    return place


def grey(size=(8, 8), seed=0):
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


class TestEdits:
    def test_of_no_strength_is_the_file_and_carries_its_profile(self, digits, tmp_path):
        source = saved(tmp_path / "in.png", grey(), icc_profile=PROFILE)
        (out,) = edit_run(digits, source, EditOptions(strength=0.0), tmp_path / "out.png").files
        np.testing.assert_array_equal(pixels(out), grey())
        with Image.open(out) as image:
            assert image.info["icc_profile"] == PROFILE

    def test_are_written_beside_the_run_the_same_every_time(self, digits, tmp_path):
        source = saved(tmp_path / "in.png", grey())
        first = edit_run(digits, source, EditOptions(count=3))
        assert [path.name for path in first.files] == [f"in-00000{n}.png" for n in range(3)]
        assert first.files[0].parent == digits.folder.path / "edits"
        before = [path.read_bytes() for path in first.files]
        assert before == [path.read_bytes() for path in edit_run(digits, source, EditOptions(count=3)).files]
        (other,) = edit_run(digits, source, EditOptions(seed=5), tmp_path / "other").files
        assert other.read_bytes() not in before

    def test_opacity_is_respected_to_the_pixel(self, digits, tmp_path):
        array = np.dstack([grey()] * 3 + [np.full((8, 8), 255, np.uint8)])
        array[2:5, 3:6, 3] = 0
        source = saved(tmp_path / "in.png", array)
        for options in (EditOptions(mask="alpha"), EditOptions(mask="alpha", restore="inpaint", steps=3)):
            (out,) = edit_run(digits, source, options, tmp_path / "out").files
            same = pixels(out) == grey()
            assert same[array[..., 3] == 255].all() and not same[2:5, 3:6].all()

    def test_a_drawn_mask_and_a_larger_canvas(self, digits, tmp_path):
        drawn = np.zeros((8, 8), np.uint8)
        drawn[:, 4:] = 255
        mask = saved(tmp_path / "mask.png", drawn)
        (out,) = edit_run(digits, saved(tmp_path / "in.png", grey()), EditOptions(mask=str(mask)), tmp_path / "a").files
        assert (pixels(out)[:, :4] == grey()[:, :4]).all() and (pixels(out) != grey()).any()
        small = saved(tmp_path / "small.png", grey((6, 5)))
        (out,) = edit_run(digits, small, EditOptions(outpaint=(2, 1, 1, 1)), tmp_path / "b").files
        np.testing.assert_array_equal(pixels(out)[1:7, 2:7], grey((6, 5)))
        assert pixels(out).shape == (8, 8)

    def test_by_inversion_without_any_draw(self, digits, tmp_path):
        source = saved(tmp_path / "in.png", grey())
        same = EditOptions(source={"label": 3}, condition={"label": 3})
        (out,) = edit_run(digits, source, same, tmp_path / "a").files
        assert np.abs(pixels(out).astype(int) - grey()).max() <= 1
        changed = EditOptions(source={"label": 3}, condition={"label": 5}, seed=9)
        (out,) = edit_run(digits, source, changed, tmp_path / "b").files
        assert out.is_file()

    def test_in_windows_larger_and_seamless(self, colours, tmp_path):
        array = np.random.default_rng(1).integers(0, 256, (16, 20, 3), np.uint8)
        source = saved(tmp_path / "in.png", array)
        for options in (EditOptions(tile=True), EditOptions(seamless=True, strength=1.0, steps=2)):
            (out,) = edit_run(colours, source, options, tmp_path / "out").files
            assert pixels(out).shape == array.shape

    def test_towards_a_style(self, colours, tmp_path):
        """The energy of the style is lower where it is followed, with the same draws."""
        from unstir.domains.images.editing import read_picture
        from unstir.domains.images.style import StyleEnergy

        style = saved(tmp_path / "style.png", np.tile(np.uint8([[[250, 20, 20], [20, 20, 250]]]), (12, 6, 1)))
        source = saved(tmp_path / "in.png", np.full((8, 8, 3), 128, np.uint8))
        energy, found = StyleEnergy([read_picture(style, 3).values]), []
        for styles in ((), (str(style),)):
            (out,) = edit_run(colours, source, EditOptions(style=styles, steps=6, strength=0.8), tmp_path / "o").files
            found.append(energy(read_picture(out, 3).values[None]).item())
        assert found[1] < found[0]


class TestRestorations:
    def test_denoising_tells_the_level_it_found(self, digits, tmp_path):
        source = saved(tmp_path / "in.png", grey())
        edited = edit_run(digits, source, EditOptions(restore="denoise", count=2), tmp_path / "out")
        assert "likeliest under the run" in edited.remarks[0]
        assert [path.name for path in edited.files] == ["in-000000.png", "in-000001.png", "in-mean.png"]
        known = edit_run(digits, source, EditOptions(restore="denoise", noise=0.1), tmp_path / "known")
        assert not known.remarks

    def test_super_resolution_doubles_the_size(self, digits, tmp_path):
        source = saved(tmp_path / "in.png", grey((4, 4)))
        (out,) = edit_run(digits, source, EditOptions(restore="super-resolve", steps=3), tmp_path / "out").files
        assert pixels(out).shape == (8, 8)

    def test_deblurring(self, digits, tmp_path):
        source = saved(tmp_path / "in.png", grey())
        (out,) = edit_run(digits, source, EditOptions(restore="deblur", blur=0.8, steps=3), tmp_path / "out").files
        assert pixels(out).shape == (8, 8)

    def test_colour_is_given_back_to_grey(self, colours, digits, tmp_path):
        source = saved(tmp_path / "in.png", grey())
        (out,) = edit_run(colours, source, EditOptions(restore="colourise", steps=3), tmp_path / "out").files
        assert pixels(out).shape == (8, 8, 3)
        with pytest.raises(InputError, match="by a run of colour pictures"):
            edit_run(digits, source, EditOptions(restore="colourise"))

    def test_scratches_are_found_and_the_rest_is_left(self, colours, digits, tmp_path):
        array = np.full((24, 16, 3), 60, np.uint8)
        array[12] = 250
        source = saved(tmp_path / "in.png", array)
        edited = edit_run(colours, source, EditOptions(restore="scratches", tile=True, steps=2), tmp_path / "out")
        same = pixels(edited.files[0]) == array
        assert "scratches found" in edited.remarks[0] and same[:11].all() and same[14:].all() and not same[12].all()
        painted = edit_run(colours, source, EditOptions(restore="painting", tile=True, steps=2), tmp_path / "painted")
        assert "tones stretched" in painted.remarks[1]
        with pytest.raises(InputError, match="no cracks or scratches stand out"):
            flat = saved(tmp_path / "flat.png", np.full((8, 8), 60, np.uint8))
            edit_run(digits, flat, EditOptions(restore="scratches"))


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"restore": "deblurr"}, "did you mean 'deblur'"),
            ({"count": 0}, "at least 1 edit"),
            ({"outpaint": (1, 2)}, "four numbers"),
            ({"noise": 2.0}, "share of black to white"),
            ({"restore": "denoise", "strength": 0.5}, "has no strength"),
            ({"restore": "denoise", "mask": "alpha"}, "goes with 'inpaint'"),
        ],
    )
    def test_options(self, options, said):
        with pytest.raises(InputError, match=said):
            EditOptions(**options)

    def test_pictures(self, digits, tmp_path):
        large = saved(tmp_path / "large.png", grey((16, 16)))
        with pytest.raises(InputError, match="has 16 by 16 pixels, the run 8 by 8; say --tile"):
            edit_run(digits, large, EditOptions())
        source = saved(tmp_path / "in.png", grey())
        with pytest.raises(InputError, match="nothing in it is transparent"):
            edit_run(digits, source, EditOptions(mask="alpha"))
        with pytest.raises(InputError, match="needs to know where"):
            edit_run(digits, source, EditOptions(restore="inpaint"))
        with pytest.raises(InputError, match="do not go into one file"):
            edit_run(digits, source, EditOptions(count=2), tmp_path / "one.png")
        with pytest.raises(InputError, match="class number from 0 to 9"):
            edit_run(digits, source, EditOptions(condition={"label": 11}))

    def test_runs_of_other_fields(self, tmp_path):
        place = tmp_path / "table"
        changes = ["network={name: mlp, width: 8, depth: 1, embedding: 8}", *SMALL[1:], "data.name=iris"]
        train_run(load("table", changes), place, progress=False)
        with pytest.raises(InputError, match="edited by runs of images"):
            edit_run(TrainedRun(RunFolder.open(place)), "x.png", EditOptions())
