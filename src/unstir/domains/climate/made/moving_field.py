r"""Weather of a known law: a field that is carried around the globe, spreads out, fades, and is stirred anew.

On a grid the field's waves evolve on their own: wave m along longitude and n across latitude

.. math:: a_{mn}(t+1) = e^{-\gamma - \kappa(m^2+n^2) - i m \omega} a_{mn}(t) + \sqrt{S_{mn} (1 - |\lambda_{mn}|^2)}\, w

with fresh noise w, which leaves the stationary spectrum S as it is. All is linear and Gaussian, so what can be known
of the field k steps ahead is known in closed form: the mean A^k x, and waves of the variance S (1 - |lambda|^2k).

Reference: Lindgren, Rue, Lindström, An explicit link between Gaussian fields and Gaussian Markov random fields (2011),
section 3.5, for damped, advected and stirred fields.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from unstir.core.errors import InputError, NotInstalledError, unknown
from unstir.core.seeds import Seeds

_POLES = 75.0  # the grid ends there


@dataclass(frozen=True)
class MovingField:
    """The field's law; fields are (..., latitudes, longitudes), anomalies in kelvin of deviation ``deviation``.

    ``turn``: degrees of longitude that the field moves in a step; ``fading`` gamma and ``spreading`` kappa, each a
    step; ``reach``: the wave number beyond which the spectrum falls. Across latitude waves are cosines, which have no
    slope at both ends.
    """

    latitudes: int = 12
    longitudes: int = 24
    turn: float | int = 10.0
    fading: float | int = 0.03
    spreading: float | int = 0.01
    reach: float | int = 2.0
    deviation: float | int = 5.0

    def __post_init__(self) -> None:
        for name, least in (("latitudes", 2), ("longitudes", 4)):
            count = getattr(self, name)
            if isinstance(count, bool) or not isinstance(count, int) or count < least:
                raise InputError(f"moving-field: {name} is a whole number, at least {least}; seen {count!r}")
        for name in ("fading", "reach", "deviation"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"moving-field: {name} must be positive; seen {getattr(self, name)!r}")
        if not self.spreading >= 0 or not math.isfinite(self.turn):
            raise InputError(
                f"moving-field: spreading is at least 0 and turn finite; seen {self.spreading!r} and {self.turn!r}"
            )

    @property
    def _waves(self) -> tuple[np.ndarray, np.ndarray]:
        """The factor of each wave in a step, complex, and its stationary variance: (latitudes, longitudes//2 + 1)."""
        across, along = np.arange(self.latitudes)[:, None] / 2.0, np.arange(self.longitudes // 2 + 1)[None]
        square = along**2 + across**2
        phase = np.exp(-1j * along * math.radians(self.turn))
        if self.longitudes % 2 == 0:
            phase[:, -1] = phase[:, -1].real  # the shortest wave of an even grid has a cosine only
        power = (1 + square / self.reach**2) ** -2.0
        counts = np.full(along.shape, 2.0)
        counts[:, 0] = 1.0
        if self.longitudes % 2 == 0:
            counts[:, -1] = 1.0
        mean = (power * counts).sum() / (self.latitudes * self.longitudes)
        return np.exp(-self.fading - self.spreading * square) * phase, power * self.deviation**2 / mean

    def _waves_of(self, fields: np.ndarray) -> np.ndarray:
        from scipy import fft

        return fft.rfft(fft.dct(fields, axis=-2, norm="ortho"), axis=-1, norm="ortho")

    def _fields_of(self, waves: np.ndarray) -> np.ndarray:
        from scipy import fft

        return fft.idct(fft.irfft(waves, n=self.longitudes, axis=-1, norm="ortho"), axis=-2, norm="ortho")

    def _filtered(self, fields: np.ndarray, factors: np.ndarray) -> np.ndarray:
        return self._fields_of(self._waves_of(fields) * factors)

    def carried(self, fields: np.ndarray, steps: int = 1) -> np.ndarray:
        """What is left of fields after so many steps, without what is stirred in: A^steps x, of the same shape."""
        return self._filtered(np.asarray(fields, dtype=np.float64), self._waves[0] ** steps)

    def stirred(self, white: np.ndarray, steps: int | None = 1) -> np.ndarray:
        """Standard normal fields made into those that so many steps stir in; None: ever so many, the field itself."""
        factors, variances = self._waves
        left = 0.0 if steps is None else np.abs(factors) ** (2 * steps)
        return self._filtered(np.asarray(white, dtype=np.float64), np.sqrt(variances * (1 - left)))

    def forecast(self, fields: np.ndarray, steps: int, white: np.ndarray) -> np.ndarray:
        """Draws of the law ``steps`` ahead, given the fields now: as many as ``white`` has standard normal fields."""
        return self.carried(fields, steps) + self.stirred(white, steps)

    def run(self, count: int, seed: int = 0) -> np.ndarray:
        """A stationary path, (count, latitudes, longitudes)."""
        import torch

        white = Seeds.range(seed, count).at("moving-field").normal((self.latitudes, self.longitudes), torch.float64)
        factors, variances = self._waves
        waves = self._waves_of(white.numpy())
        found = np.empty(waves.shape, dtype=np.complex128)
        found[0] = waves[0] * np.sqrt(variances)
        fresh = np.sqrt(variances * (1 - np.abs(factors) ** 2))
        for number in range(1, count):
            found[number] = factors * found[number - 1] + fresh * waves[number]
        return self._fields_of(found)


def moving_field_dataset(count: int = 4000, seed: int = 0, mean: float = 280.0, **law: Any) -> Any:
    """A path of ``count`` days: a Dataset of ``temperature`` (time, latitude, longitude) in kelvin about ``mean``.

    ``law``: the options of ``MovingField``; ``ds.attrs`` keeps them all. Raises InputError for others.
    """
    try:
        import xarray
    except ImportError as error:
        raise NotInstalledError("xarray", "climate", "a dataset of the moving field") from error
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise InputError(f"moving-field: count, of days, is a whole number and at least 2; seen {count!r}")
    field = field_of(law)
    axes = {
        "time": np.datetime64("2000-01-01", "ns") + np.arange(count) * np.timedelta64(1, "D"),
        "latitude": ("latitude", np.linspace(-_POLES, _POLES, field.latitudes), {"units": "degrees_north"}),
        "longitude": ("longitude", np.arange(field.longitudes) * 360 / field.longitudes, {"units": "degrees_east"}),
    }
    told = {"units": "K", "long_name": "temperature", "standard_name": "air_temperature"}
    made = xarray.Dataset(
        {"temperature": (("time", "latitude", "longitude"), mean + field.run(count, seed), told)}, coords=axes
    )
    made.attrs = {"model": "MovingField", **vars(field), "mean": mean, "seed": seed}
    return made


def field_of(options: Any) -> MovingField:
    """The law that these options (or a dataset's ``attrs``) tell; InputError for options that it does not know."""
    known = MovingField.__dataclass_fields__
    if "model" not in options and (wrong := [name for name in options if name not in known]):
        raise unknown("option of moving-field (data.options):", str(wrong[0]), [*known, "count", "seed", "mean"])
    return MovingField(**{name: options[name] for name in known if name in options})
