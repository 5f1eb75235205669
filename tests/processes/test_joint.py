"""Several processes at once: what a joint refuses, that parts are as they are alone, and broken copies."""

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.joint import JointProcess
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.samplers.exponential import ddim
from unstir.verification.base import Effort
from unstir.verification.checks import processes as checks
from unstir.verification.spaces import law_of

PROCESS = JointProcess.examples()["vector, angle and tokens"]


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def fails(check, process):
    return not all(figure.passed for figure in check(process, Effort(quick=True)))


def test_what_is_no_joint_is_refused():
    with pytest.raises(InputError, match="a part at least"):
        JointProcess({})
    with pytest.raises(InputError, match="the clock 'positon' is no part; did you mean 'position'"):
        JointProcess(PROCESS.parts, clock="positon")
    with pytest.raises(InputError, match=r"the state of this joint process has the parts .*; seen \['angle'\]"):
        PROCESS.noise({"angle": torch.zeros(2, 1)}, scalar(0.5), Seeds.range(0, 2))
    with pytest.raises(InputError, match="seen Tensor"):
        PROCESS.noise(torch.zeros(2, 1), scalar(0.5), Seeds.range(0, 2))
    with pytest.raises(InputError, match=r"a shape for each of \['angle', 'kind', 'position'\]; seen \(2,\)"):
        PROCESS.prior((2,), Seeds.range(0, 2))


def test_parts_are_as_they_are_alone():
    """At the part's address: a joint of independent parts loses nothing."""
    x0, seeds = PROCESS.example_data(50), Seeds.range(4, 50)
    together = PROCESS.noise(x0, scalar(0.6), seeds)
    fresh = PROCESS.prior({"position": (2,), "angle": (2,), "kind": (2,)}, seeds)
    for name, part in PROCESS.parts.items():
        assert torch.equal(together[name], part.noise(x0[name], scalar(0.6), seeds.at(name)))
        assert torch.equal(fresh[name], part.prior((2,), seeds.at(name)))


def test_clock_names_the_schedule_of_the_steps():
    schedules = {"a": ExponentialVESchedule(0.01, 2.0), "b": ExponentialVESchedule(0.02, 3.0)}
    parts = {name: WrappedProcess(schedule) for name, schedule in schedules.items()}
    assert JointProcess(parts).schedule is schedules["a"]
    assert JointProcess(parts, clock="b").schedule is schedules["b"]


def test_joints_may_be_nested():
    inner = JointProcess({"x": GaussianProcess(), "k": CategoricalProcess(2)})
    outer = JointProcess({"first": inner, "angle": WrappedProcess()})
    x0 = outer.example_data(5)
    xt = outer.noise(x0, scalar(0.5), Seeds.range(0, 5))
    assert xt["first"]["k"].dtype == torch.int64
    shapes = {"first": {"x": (2,), "k": (2,)}, "angle": (2,)}
    assert outer.prior(shapes, Seeds.range(0, 3))["first"]["x"].shape == (3, 2)


def test_driver_samples_dicts_and_refuses_a_euclidean_sampler():
    law = law_of(PROCESS)
    few, many = (sample(law, AncestralSampler(), law.shape, count=count, steps=3, batch=8) for count in (3, 20))
    for name in PROCESS.parts:
        assert torch.equal(few[name], many[name][:3])
    assert few["kind"].dtype == torch.int64
    assert few["position"].dtype == torch.float32
    assert sample(law, AncestralSampler(), law.shape, count=0)["kind"].shape == (0, 2)
    with pytest.raises(InputError, match=r"not the space 'joint' of JointProcess; samplers that do: ancestral"):
        sample(law, ddim(), law.shape, count=3)


class TestBrokenCopies:
    """Each breaks one claim, and the check of that claim sees it."""

    def test_bridge_that_draws_each_part_by_itself(self):
        """Every part is right alone; how they hang together is lost."""

        class Mutant(JointProcess):
            def bridge(self, xt, posterior, t, s, seeds, mask=None):
                drawn = {}
                for name in self.parts:
                    drawn[name] = super().bridge(xt, posterior, t, s, seeds.at("again", name), mask)[name]
                return drawn

        assert fails(checks.exact_belief_returns_the_data, Mutant(PROCESS.parts))

    def test_one_part_that_is_not_noised(self):
        class Mutant(JointProcess):
            def transition(self, xs, s, t, seeds, mask=None):
                return {**super().transition(xs, s, t, seeds, mask), "angle": xs["angle"]}

        assert fails(checks.noise_composes, Mutant(PROCESS.parts))
        assert fails(checks.bridge_reverses_the_noise, Mutant(PROCESS.parts))

    def test_parts_that_share_their_draws(self):
        """The same uniform number masks a token and turns the angle: each part is right, their joint is not."""
        parts = {
            "a": WrappedProcess(ExponentialVESchedule(0.01, 2.0)),
            "b": WrappedProcess(ExponentialVESchedule(0.01, 2.0)),
        }

        class Mutant(JointProcess):
            def noise(self, x0, t, seeds, mask=None):
                return {name: part.noise(x0[name], t, seeds, mask) for name, part in self.parts.items()}

        assert not fails(checks.noise_composes, JointProcess(parts))
        assert fails(checks.noise_composes, Mutant(parts))
