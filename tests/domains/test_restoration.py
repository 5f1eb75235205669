"""The classical baselines, each right on what it is for, and the repair of paintings."""

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.images.restoration import Fading, classical, classical_methods, cracks
from unstir.inverse.operators.blur import BlurOperator
from unstir.inverse.operators.downsample import DownsampleOperator
from unstir.inverse.operators.grey import GreyOperator
from unstir.inverse.operators.mask import MaskOperator, box
from unstir.inverse.operators.matrix import MatrixOperator
from unstir.metrics.pictures import psnr


def smooth(channels=1, size=24):
    y, x = (torch.linspace(-1, 1, size, dtype=torch.float64),) * 2
    plane = 0.6 * torch.cos(3 * y)[:, None] * torch.cos(2 * x)[None]
    return plane.expand(channels, size, size).contiguous()


def better(made, damaged, clean):
    return psnr(made[None], clean[None]).item() - psnr(damaged[None], clean[None]).item()


class TestClassical:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_hidden_places_of_a_smooth_picture_are_filled_in(self, channels):
        clean = smooth(channels)
        operator = box(clean.shape, 0.25)
        reading = operator(clean[None])[0]
        made = classical(operator, reading)
        seen = operator.seen
        torch.testing.assert_close(made[seen], clean[seen], rtol=0, atol=1e-9)
        away, flat = ((guess - clean)[~seen].square().mean().sqrt() for guess in (made, clean[seen].mean()))
        assert away < 0.15 * flat

    @pytest.mark.parametrize("name", ["total-variation", "wavelet"])
    def test_noise_is_taken_off(self, name):
        clean = torch.where(smooth() > 0, 0.7, -0.7)
        noisy = clean + 0.25 * Seeds.range(0, 1).normal((1, 24, 24), torch.float64)[0]
        operator = MaskOperator((1, 24, 24), torch.ones(24, 24, dtype=torch.bool))
        made = classical(operator, noisy.flatten(), 0.25, name)
        assert better(made, noisy, clean) > 3.0  # decibels

    def test_coarse_pictures_are_enlarged_in_place(self):
        clean = smooth(3)
        operator = DownsampleOperator((3, 24, 24), 2)
        reading = operator(clean[None])[0]
        made = classical(operator, reading)
        blocks = reading.repeat_interleave(2, 1).repeat_interleave(2, 2)
        assert better(made, blocks, clean) > 6.0

    @pytest.mark.parametrize("boundary", ["periodic", "reflect"])
    def test_blur_is_undone_in_part(self, boundary):
        clean = torch.where(smooth() > 0, 0.5, -0.5)
        operator = BlurOperator((1, 24, 24), deviation=1.2, boundary=boundary)
        reading = operator(clean[None])[0]
        assert better(classical(operator, reading), reading, clean) > 2.0

    def test_grey_is_repeated(self):
        operator = GreyOperator((3, 6, 6), "mean")
        made = classical(operator, torch.full((1, 6, 6), 0.3, dtype=torch.float64))
        assert made.shape == (3, 6, 6) and (made == 0.3).all()

    def test_what_none_serves_is_refused(self):
        with pytest.raises(InputError, match="no classical method is known for MatrixOperator"):
            classical_methods(MatrixOperator((1, 1, 2), [[1.0, 0.0]]))
        with pytest.raises(InputError, match="restore pictures"):
            classical_methods(MatrixOperator((2,), [[1.0, 0.0]]))
        operator = DownsampleOperator((1, 4, 4), 2)
        with pytest.raises(InputError, match="unknown classical method"):
            classical(operator, torch.zeros(1, 2, 2), name="lanczos")
        with pytest.raises(InputError, match="a reading of shape"):
            classical(operator, torch.zeros(1, 4, 4))


class TestPaintings:
    def painting(self):
        picture = 0.5 * smooth(3, 64).float()
        line = torch.arange(8, 56)
        picture[:, line, line] = -0.9  # a dark crack from corner to corner
        picture[:, 20, 5:60] = 0.9  # and a light scratch
        truth = torch.zeros(64, 64, dtype=torch.bool)
        truth[line, line] = True
        truth[20, 5:60] = True
        return picture, truth

    def test_cracks_and_scratches_are_found_and_little_else(self):
        picture, truth = self.painting()
        found = cracks(picture)
        assert found[truth].double().mean() > 0.95 and found.double().mean() < 0.12
        dark = cracks(picture, light=False)
        assert dark[30, 30] and not dark[20, 40]
        assert not cracks(0.5 * smooth(3, 64)).any()

    def test_a_broad_stroke_is_no_crack(self):
        picture = torch.zeros(1, 64, 64)
        picture[:, 20:40, 10:50] = 0.9
        assert not cracks(picture)[25:35, 15:45].any()

    def test_faded_tones_come_back(self):
        clean = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0)) ** 1.7 * 1.9 - 0.95
        share = (clean + 1) / 2
        faded = torch.stack([0.3 + 0.3 * share[0] ** 0.7, -0.2 + 0.5 * share[1], 0.1 + 0.2 * share[2] ** 1.4])
        told = Fading.of(faded, clean[None])
        back = told.undone(faded)
        assert (back - clean).abs().mean() < 0.02 < 0.2 < (faded - clean).abs().mean()
        stretched = Fading.of(faded).undone(faded)
        # 2 % at either end lie beyond the quantiles
        assert stretched.flatten(1).quantile(0.98, dim=1).min() > 0.94
        assert stretched.flatten(1).quantile(0.02, dim=1).max() < -0.94

    def test_one_tone_alone_is_left(self):
        flat = torch.full((1, 5, 5), 0.25)
        torch.testing.assert_close(Fading.of(flat).undone(flat), flat)

    def test_what_cannot_be_looked_for_is_refused(self):
        for options in ({"width": 0}, {"dark": False, "light": False}):
            with pytest.raises(InputError, match="cracks have a width"):
                cracks(torch.zeros(1, 8, 8), **options)


def test_a_missing_package_names_its_extra(monkeypatch):
    import importlib

    from unstir.core.errors import NotInstalledError

    def missing(name, *rest):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(NotInstalledError, match=r"unstir\[restoration\]"):
        classical(DownsampleOperator((1, 4, 4), 2), torch.from_numpy(np.zeros((1, 2, 2))))
