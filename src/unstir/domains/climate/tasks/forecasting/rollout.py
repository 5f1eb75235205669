"""Forecasts by steps: from the last states to the next one, and on from there, each member on its own."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import beside
from unstir.domains.climate.tasks.forecasting.stencil import StencilForecast
from unstir.domains.climate.windows import harmonics

CENTRES = ("regression", "last", "none")


@dataclass(frozen=True)
class Stepper:
    """What is told to the network before a step; everything is encoded, so that a step needs no units.

    ``history`` states are known, the last one last. ``centre`` says about what the belief is centred: the
    ``regression``, the ``last`` state, or ``none``. ``scales`` (2, channels) are the deviations of states and of
    changes from one to the next, by which they are told; ``maps`` (k, *axes) are what never changes; ``clock`` names
    the cycles (``season``, ``hour``) that are told of the time that a forecast is for; ``missing`` (channels, *axes) is
    True where there never is a value, None where there is everywhere one.
    """

    history: int
    regression: StencilForecast
    centre: str
    scales: Tensor
    maps: Tensor
    clock: tuple[str, ...] = ()
    missing: Tensor | None = None

    def condition(self, past: Tensor, when: np.ndarray) -> dict[str, Tensor]:
        """The conditions of a step from ``past`` (n, history, channels, *axes) to the times ``when`` (n,), float32."""
        if past.shape[1] != self.history:
            raise InputError(f"a step needs the last {self.history} states; seen {past.shape[1]}")
        known = past.nan_to_num(0.0)
        states, changes = (beside(scale, past[0, 0]) for scale in self.scales.to(past.dtype))
        told = [known[:, -1] / states]
        told += [(known[:, place] - known[:, place - 1]) / changes for place in range(self.history - 1, 0, -1)]
        if len(self.maps):
            told.append(self.maps.to(past.dtype).expand(len(past), *self.maps.shape))
        found = {"given": torch.cat(told, 1).float()}
        if self.clock:
            found["clock"] = torch.from_numpy(clock_features(when, self.clock))
        if self.centre != "none":
            centre = self.regression(known) if self.centre == "regression" else known[:, -1]
            found["centre"] = centre.float()
        if self.missing is not None:
            found["mask"] = ~self.missing.expand(len(past), *self.missing.shape)
        return found

    def conditions(self, channels: int) -> dict[str, dict[str, int]]:
        """What these conditions are, as networks are told of them."""
        found = {"given": {"channels": self.history * channels + len(self.maps)}}
        if self.clock:
            found["clock"] = {"size": 2 * len(self.clock)}
        if self.centre != "none":
            found["centre"] = {"channels": channels}
        return found

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "history": self.history,
            "regression": self.regression.record(),
            "centre": self.centre,
            "scales": self.scales.tolist(),
            "maps": self.maps.tolist(),
            "clock": list(self.clock),
            "missing": None if self.missing is None else self.missing.tolist(),
        }

    @staticmethod
    def restored(record: Mapping[str, Any]) -> "Stepper":
        """The stepper that ``record()`` came from."""
        missing = record["missing"]
        return Stepper(
            record["history"],
            StencilForecast.restored(record["regression"]),
            record["centre"],
            torch.tensor(record["scales"], dtype=torch.float64),
            torch.tensor(record["maps"], dtype=torch.float64),
            tuple(record["clock"]),
            None if missing is None else torch.tensor(missing, dtype=torch.bool),
        )


def rollout(
    draw: Callable[..., Any],
    stepper: Stepper,
    past: Tensor,
    when: Callable[[int], np.ndarray],
    leads: Sequence[int],
    members: int,
    seed: int,
    progress: Callable[[int], object] | None = None,
) -> Tensor:
    """Ensembles ``leads`` steps ahead, encoded float32 (cases, members, leads, channels, *axes), NaN where missing.

    ``draw(count, seed=..., condition=...)`` gives the next states, as in ``Judged``; ``past`` are the last states
    (cases, history, channels, *axes); ``when(k)`` are the times k steps ahead, (cases,); ``leads`` are rising numbers
    of steps. Every member goes on from its own states. Member m of case i is sample number i * members + m, and each
    step has a seed of its own, which follows from ``seed`` and its number: a member is the same whichever leads are
    kept, and whichever other cases and members stand behind it. Beside what is kept, memory holds the last states of
    all members; ``progress(n)`` is told of every n steps of a member.
    """
    kept = [int(lead) for lead in leads]
    if not kept or kept[0] < 1 or any(later <= lead for lead, later in pairwise(kept)):
        raise InputError(f"leads are rising numbers of steps, from 1 on; seen {list(leads)}")
    cases = len(past)
    states = past.float().repeat_interleave(members, 0)
    found = torch.empty(cases * members, len(kept), *past.shape[2:], dtype=torch.float32)
    for step in range(1, kept[-1] + 1):
        condition = stepper.condition(states, np.repeat(when(step), members))
        drawn = draw(cases * members, seed=step_seed(seed, step), condition=condition).cpu()
        if stepper.missing is not None:
            drawn = torch.where(stepper.missing, math.nan, drawn)
        states = torch.cat((states[:, 1:], drawn[:, None]), 1)
        if step in kept:
            found[:, kept.index(step)] = drawn
        if progress is not None:
            progress(cases * members)
    return found.unflatten(0, (cases, members))


def step_seed(seed: int, step: int) -> int:
    """The seed of a step's draws: another one for each step, since sample numbers are the members'."""
    high, low = Seeds.range(seed, 1).at("forecast", step).words(2)[0].tolist()
    return (high << 31) ^ low


def clock_features(times: np.ndarray, cycles: Sequence[str]) -> np.ndarray:
    """Cosine and sine of the place in each of the ``cycles`` (``season``, ``hour``), float32 (n, 2 * cycles)."""
    parts = []
    for cycle in cycles:
        if cycle == "season":
            parts.append(harmonics(times, 1))
        else:
            angles = 2 * np.pi * hours(times) / 24
            parts.append(np.stack((np.cos(angles), np.sin(angles)), 1).astype(np.float32))
    return np.concatenate(parts, 1)


def hours(times: np.ndarray) -> np.ndarray:
    """Hours since midnight (UTC), with fractions, float64; of datetime64 or cftime."""
    if np.issubdtype(times.dtype, np.datetime64):
        return (times - times.astype("datetime64[D]").astype(times.dtype)) / np.timedelta64(1, "h")
    return np.array([time.hour + time.minute / 60 + time.second / 3600 for time in times], dtype=np.float64)
