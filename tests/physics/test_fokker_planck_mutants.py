"""Broken copies of the solver: each must fail the check that is there for it."""

import numpy as np
import pytest

from unstir.physics import fokker_planck_rates, fokker_planck_stepping
from unstir.physics.fokker_planck import FokkerPlanck
from unstir.verification.base import Effort
from unstir.verification.checks import physics_laws as checks

fitted = fokker_planck_rates._fitted


def failures(check):
    return [figure.quantity for figure in check(FokkerPlanck, Effort(quick=True)) if not figure.passed]


def stratonovich(edges, drift, middle, centre, width):
    # half of Itô's correction left out
    far = np.append(centre, 0.0)[edges.target]
    return fitted(edges, drift + edges.sign * (far - centre[edges.source]) / width / 2, middle, centre, width)


def upwind(edges, drift, middle, centre, width):
    forward, backward = (np.maximum(sign * edges.sign * drift, 0) / width for sign in (1, -1))
    diffusing = fitted(edges, 0 * drift, middle, centre, width)
    wall = edges.target == len(centre)
    return forward + diffusing[0], np.where(wall, 0, backward + diffusing[1])


def central(edges, drift, middle, centre, width):
    half = edges.sign * drift / 2 / width
    diffusing = fitted(edges, 0 * drift, middle, centre, width)
    return diffusing[0] + half, np.where(edges.target == len(centre), 0, diffusing[1] - half)


def half_at_walls(edges, drift, middle, centre, width):
    forward, backward = fitted(edges, drift, middle, centre, width)
    return np.where(edges.target == len(centre), forward / 2, forward), backward


def lost(self):
    return (1 + 1e-9) * np.bincount(self.source, self.forward, self.cells + 1)[:-1] + np.bincount(
        self.target, self.backward, self.cells + 1
    )[:-1]


@pytest.mark.parametrize(
    ("owner", "name", "broken", "check"),
    [
        (fokker_planck_rates, "_fitted", stratonovich, checks.fokker_planck_order_in_space),
        (fokker_planck_rates, "_fitted", stratonovich, checks.fokker_planck_agrees_with_paths),
        (fokker_planck_rates, "_fitted", upwind, checks.fokker_planck_stationary_law),
        (fokker_planck_rates, "_fitted", upwind, checks.fokker_planck_current),
        (fokker_planck_rates, "_fitted", central, checks.fokker_planck_keeps_mass_and_sign),
        (fokker_planck_rates, "_fitted", half_at_walls, checks.fokker_planck_exit),
        (
            fokker_planck_rates.Discretisation,
            "_along_diagonal",
            lambda self, step, edges, time: (np.zeros(len(edges.source)),) * 2,
            checks.fokker_planck_order_in_space,
        ),
        (fokker_planck_rates.Rates, "lost", lost, checks.fokker_planck_keeps_mass_and_sign),
        (fokker_planck_stepping, "_WEIGHT", 0.36, checks.fokker_planck_order_in_time),
        (fokker_planck_stepping, "_GAMMA", 0.6, checks.fokker_planck_order_in_time),
        (
            fokker_planck_stepping.Stepper,
            "_limited",
            lambda self, start, halfway, found, time, step: found,
            checks.fokker_planck_keeps_mass_and_sign,
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_copy_fails(monkeypatch, owner, name, broken, check):
    assert not failures(check)
    monkeypatch.setattr(owner, name, broken)
    assert failures(check)
