import pytest
import torch
from torch import nn
from toy_problem import Points, make_denoiser

from unstir.core.errors import InputError
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.training.checkpoints import latest
from unstir.training.loop import train
from unstir.training.options import TrainingOptions
from unstir.training.settings import Settings, choose_device, has_bfloat16

CPU = torch.device("cpu")


class Volumes(nn.Module):
    """A convolution of each dimension from one to three."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([nn.Conv1d(2, 3, 3), nn.Conv2d(2, 3, 3), nn.Conv3d(2, 3, 3)])


@pytest.mark.parametrize("axes", [2, 3, 4])
def test_pictures_and_volumes_have_their_channels_last(axes):
    shape = (2, 6, 5, 4)[:axes]
    settings = Settings(TrainingOptions(), CPU, len(shape))
    model = Volumes()
    settings.prepare(model)
    placed = settings.place({"x": torch.randn(3, *shape), "label": torch.zeros(3)})
    last = {2: None, 3: torch.channels_last, 4: torch.channels_last_3d}[axes]
    if last is None:
        assert placed["x"].is_contiguous()
    else:
        assert placed["x"].is_contiguous(memory_format=last) and not placed["x"].is_contiguous()
        assert model.parts[1].weight.is_contiguous(memory_format=torch.channels_last)
        assert model.parts[2].weight.is_contiguous(memory_format=torch.channels_last_3d)
    off = Settings(TrainingOptions(channels_last=False), CPU, len(shape))
    assert off.place(torch.randn(3, *shape)).is_contiguous()


class Pictures:
    name, shape, conditions, digest = "pictures", (2, 6, 6), {}, "0"

    def __len__(self):
        return 40

    def batch(self, rows, seeds=None):
        x = torch.linspace(-1, 1, 40 * 72).reshape(40, 2, 6, 6).sin()
        return x[torch.from_numpy(rows)], {}


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x, noise, drop=None):
        return self.last(nn.functional.silu(self.first(x) + noise[:, None, None, None]))


def test_the_layout_changes_nothing_but_rounding(tmp_path):
    options = {"steps": 20, "batch": 16, "precision": "float32", "ema": None, "learning_rate": 3e-3}
    for layout in (True, False):
        torch.manual_seed(0)
        denoiser = NetworkDenoiser(Convolutions(), GaussianProcess())
        train(denoiser, Pictures(), {**options, "channels_last": layout}, tmp_path / str(layout), progress=False)
    first, second = (latest(tmp_path / str(layout)).read("weights") for layout in (True, False))
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], rtol=1e-4, atol=1e-6)


def test_auto_is_what_the_processor_can():
    assert has_bfloat16(CPU) == (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    settings = Settings(TrainingOptions(), CPU, 1)
    assert settings.bfloat16 == has_bfloat16(CPU) and not settings.compile
    assert Settings(TrainingOptions(precision="bfloat16"), CPU, 1).bfloat16
    assert not Settings(TrainingOptions(precision="float32"), CPU, 1).bfloat16


def test_devices_by_name():
    assert choose_device("cpu", 3) == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="must be auto, cpu, cuda or cuda:N; seen 'gpu'"):
        choose_device("gpu")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler's own
def test_a_compiled_training_agrees(tmp_path):
    options = {"steps": 10, "batch": 32, "precision": "float32", "ema": None, "learning_rate": 3e-3}
    for compiled in (True, False):
        given = {**options, "compile": compiled}
        train(make_denoiser(), Points(), given, tmp_path / str(compiled), progress=False)
    first, second = (latest(tmp_path / str(compiled)).read("weights") for compiled in (True, False))
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], rtol=1e-4, atol=1e-6)
