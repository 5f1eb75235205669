"""What every architecture of the catalogue must do, whatever it is."""

import math

import pytest
import torch
from networks import of_tensors
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.state import concatenate, take

CONDITIONS = {"label": {"classes": 10}, "vector": {"size": 3}, "augment": {"size": 9}, "image": {"channels": 2}}
SMALL = {
    "unet": {"widths": [8, 16], "blocks": 1, "attention": [1], "head_width": 8, "embedding": 16},
    "mlp": {"width": 16, "depth": 2, "embedding": 16},
    "diffusion-transformer": {"width": 16, "depth": 2, "head_width": 8, "embedding": 16},
}
NARROW = {
    "unet": {"shape": (2, 1), "widths": [16], "attention": []},
    "mlp": {"shape": (2,)},
    "diffusion-transformer": {"shape": (1, 2), "tokens": "sequence"},
}
SHAPES = [(1, 8, 8), (2, 17), (3, 7, 9), (2, 5, 4, 3)]
NAMES = of_tensors()


def make(name: str, shape: tuple[int, ...] = (1, 8, 8), conditions: dict | None = None, **options: object) -> nn.Module:
    """A small network in which no weight is zero, so that every part of it shows."""
    torch.manual_seed(3)
    network = build("networks", {"name": name, **SMALL.get(name, {}), **options}, shape=shape, conditions=conditions)
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return network.eval()


def told(shape: tuple[int, ...], batch: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        "label": torch.arange(batch) % 10,
        "vector": torch.randn(batch, 3, generator=generator),
        "augment": torch.randn(batch, 9, generator=generator),
        "image": torch.randn(batch, 2, *shape[1:], generator=generator),
    }


def inputs(shape: tuple[int, ...], batch: int = 4, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    noise = torch.linspace(-1.5, 1.5, batch, dtype=dtype)
    return torch.randn(batch, *shape, generator=generator, dtype=dtype), noise


def test_the_three_architectures_are_in_the_catalogue() -> None:
    assert {"unet", "mlp", "diffusion-transformer"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_output_is_like_the_input_in_any_dimension_and_starts_at_zero(name: str, shape: tuple[int, ...]) -> None:
    x, noise = inputs(shape)
    options = {"name": name, **SMALL.get(name, {})}
    output = build("networks", options, shape=shape, conditions=CONDITIONS)(x, noise, **told(shape))
    assert output.shape == x.shape
    assert output.dtype == x.dtype
    assert torch.equal(output, torch.zeros_like(x))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("condition", [None, *CONDITIONS])
def test_input_noise_level_and_each_condition_change_the_output(name: str, condition: str | None) -> None:
    network, (x, noise), given = make(name, conditions=CONDITIONS), inputs((1, 8, 8)), told((1, 8, 8))
    output = network(x, noise, **given)
    if condition is None:
        assert not torch.allclose(output, network(x, noise + 0.1, **given))
        assert not torch.allclose(output, network(x * 1.1, noise, **given))
    else:
        other = given[condition] + 1 if condition == "label" else given[condition] * 1.1
        assert not torch.allclose(output, network(x, noise, **{**given, condition: other}))


@pytest.mark.parametrize("name", NAMES)
def test_dropping_a_sample_equals_the_absence_of_its_conditions(name: str) -> None:
    network, (x, noise), given = make(name, conditions=CONDITIONS), inputs((1, 8, 8)), told((1, 8, 8))
    drop = torch.tensor([True, False, True, False])
    mixed = network(x, noise, drop=drop, **given)
    told_all, told_nothing = network(x, noise, **given), network(x, noise, augment=given["augment"])
    assert torch.equal(mixed, torch.where(drop[:, None, None, None], told_nothing, told_all))
    assert not torch.allclose(told_all, told_nothing)


@pytest.mark.parametrize("name", NAMES)
def test_zeros_mean_absence_for_the_augmentation_but_not_for_other_vectors(name: str) -> None:
    network, (x, noise) = make(name, conditions=CONDITIONS), inputs((1, 8, 8))
    absent = network(x, noise)
    assert torch.equal(absent, network(x, noise, augment=torch.zeros(4, 9)))
    assert not torch.allclose(absent, network(x, noise, vector=torch.zeros(4, 3)))
    assert not torch.allclose(absent, network(x, noise, image=torch.zeros(4, 2, 8, 8)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES[:2])
def test_the_gradient_reaches_every_parameter(name: str, shape: tuple[int, ...]) -> None:
    network, (x, noise) = make(name, shape, CONDITIONS), inputs(shape)
    drop = torch.tensor([True, False, False, False])
    network(x, noise, drop=drop, **told(shape)).square().sum().backward()
    untouched = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert untouched == []


@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_see_each_other(name: str) -> None:
    network, (x, noise), given = (
        make(name, conditions=CONDITIONS).double(),
        inputs((1, 8, 8), dtype=torch.float64),
        told((1, 8, 8)),
    )
    together = network(x, noise, **given)
    alone = [network(x[i : i + 1], noise[i : i + 1], **take(given, slice(i, i + 1))) for i in range(4)]
    torch.testing.assert_close(together, concatenate(alone), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_one_noise_level_serves_the_whole_batch(name: str) -> None:
    network, (x, _) = make(name), inputs((1, 8, 8))
    assert torch.equal(network(x, torch.tensor(0.3)), network(x, torch.full((4,), 0.3)))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights_and_a_state_dict_carries_them(name: str) -> None:
    first, second = make(name, conditions=CONDITIONS), make(name, conditions=CONDITIONS)
    x, noise = inputs((1, 8, 8))
    assert torch.equal(first(x, noise, **told((1, 8, 8))), second(x, noise, **told((1, 8, 8))))
    second.load_state_dict({key: torch.zeros_like(value) for key, value in first.state_dict().items()})
    assert not second(x, noise).any()
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x, noise), second(x, noise))


@pytest.mark.parametrize("name", NAMES)
def test_float64_is_carried_through(name: str) -> None:
    single, double = make(name, conditions=CONDITIONS), make(name, conditions=CONDITIONS).double()
    x, noise = inputs((1, 8, 8), dtype=torch.float64)
    exact = double(x, noise, **told((1, 8, 8)))
    assert exact.dtype == torch.float64
    rounded = single(x.float(), noise.float(), **told((1, 8, 8)))
    # some hundred roundings of 2^-24 each, relative to outputs of order one
    assert (exact - rounded).abs().max() < 1e3 * 2**-24 * exact.abs().max()
    assert (exact - rounded).abs().max() > 0


# torch scripts its forward-mode rules with a tool that it has itself deprecated
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_directional_derivatives_agree_forwards_backwards_and_with_differences(name: str) -> None:
    network = make(name).double()
    x, noise = inputs((1, 8, 8), dtype=torch.float64)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(11), dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH):
        _, forwards = torch.func.jvp(lambda y, c: network(y, c), (x, noise), (direction, torch.ones_like(noise)))
        step = 1e-5
        ahead = network(x + step * direction, noise + step)
        behind = network(x - step * direction, noise - step)
        inner = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network(inner, noise).square().sum(), inner, create_graph=True)
        (twice,) = torch.autograd.grad((gradient * direction).sum(), inner)

        def slope(y: Tensor) -> Tensor:
            y = y.detach().requires_grad_()
            return torch.autograd.grad(network(y, noise).square().sum(), y)[0]

        curvature = (slope(x + step * direction) - slope(x - step * direction)) / (2 * step)
    torch.testing.assert_close(forwards, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(twice, curvature, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_autocast_stays_near_float32(name: str) -> None:
    network, (x, noise) = make(name), inputs((1, 8, 8))
    exact = network(x, noise)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(x, noise)
    assert rounded.dtype == torch.float32
    assert (exact - rounded).square().mean() < 0.03**2 * exact.square().mean()
    assert not torch.equal(exact, rounded)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_in_training_only(name: str) -> None:
    network, (x, noise) = make(name, dropout=0.5), inputs((1, 8, 8))
    assert torch.equal(network(x, noise), network(x, noise))
    network.train()
    assert not torch.equal(network(x, noise), network(x, noise))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"lable": torch.zeros(4)}, "did you mean 'label'"),
        ({"label": torch.full((4,), 10)}, "from 0 to 9, seen 10 to 10"),
        ({"label": torch.full((4,), -1)}, "from 0 to 9, seen -1 to -1"),
        ({"label": torch.zeros(4)}, "integers of shape"),
        ({"vector": torch.zeros(4, 2)}, r"\(4, 3\), seen \(4, 2\)"),
        ({"image": torch.zeros(4, 2, 8, 7)}, r"seen \(4, 2, 8, 7\)"),
        ({"drop": torch.zeros(4)}, "drop must be boolean"),
        ({"noise": torch.zeros(3)}, "noise levels"),
        ({"x": torch.zeros(4, 2, 8, 8)}, "samples of shape"),
    ],
)
def test_a_wrong_call_is_answered(name: str, condition: dict[str, Tensor], message: str) -> None:
    network, (x, noise) = make(name, conditions=CONDITIONS), inputs((1, 8, 8))
    with pytest.raises(InputError, match=message):
        network(**{"x": x, "noise": noise, **condition})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": ()}, "shape of one sample"),
        ({"shape": (1, 0, 8)}, "positive"),
        ({"dropout": 1.0}, "dropout"),
        ({"normalisation": "bach"}, "unknown normalisation 'bach'"),
        ({"embedding": 0}, "embedding"),
        ({"conditions": {"label": {"class": 3}}}, "exactly one of the keys"),
        ({"conditions": {"label": {"classes": -3}}}, "positive whole number"),
        ({"conditions": {"drop": {"size": 3}}}, "cannot be called 'drop'"),
        ({"widht": 3}, "has no option 'widht'; did you mean"),
    ],
)
def test_a_wrong_option_is_answered(name: str, options: dict, message: str) -> None:
    given = {"shape": (1, 8, 8), "conditions": None}
    own = {key: value for key, value in options.items() if key not in given}
    with pytest.raises(InputError, match=message):
        build("networks", {"name": name, **own}, **{key: options.get(key, value) for key, value in given.items()})


@pytest.mark.parametrize("name", NAMES)
def test_a_network_learns_to_denoise_better_than_the_best_linear_map(name: str) -> None:
    """Points on a circle: a linear map cannot know that the radius is one."""
    network = make(name, **NARROW[name]).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(13)
    losses = []
    for _ in range(200):
        angle = torch.rand(128, generator=generator) * 2 * math.pi
        clean = torch.stack((angle.cos(), angle.sin()), 1).reshape(-1, *network.shape)
        noisy = clean + 0.3 * torch.randn(clean.shape, generator=generator)
        loss = (network(noisy, torch.tensor(math.log(0.3) / 4)) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Wiener's error a component, at variance 1/2; knowing the radius removes about half of it
    wiener = 0.5 * 0.3**2 / (0.5 + 0.3**2)
    assert sum(losses[-50:]) / 50 < 0.8 * wiener
