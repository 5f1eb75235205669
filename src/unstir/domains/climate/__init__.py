"""Weather and climate: ensembles for stations and grids, calibrated, with coordinates and units.

Data of this field: float32 (channels, *axes) of about unit scale, a channel for each variable and level, an axis for
each of lead, latitude, longitude or whatever else the data has; what is known beforehand comes as conditions. The
``tasks`` (post-processing, forecast, downscaling, generator, assimilation) say what is told from what. ``datasets``
reads files, ``splits`` cuts them in time, ``scaling``, ``layout`` and ``encoding`` bring values to states and back,
``cases`` is the data of every task, ``forecasts`` what every task hands to ``judging``, ``baselines`` what it must
beat, ``embedded`` the data that is made here. May import what ``domains`` may.
"""

from unstir.domains.base import Domain
from unstir.domains.climate.drawing import draw_climate
from unstir.domains.climate.encoding import restore
from unstir.domains.climate.files.writing import write_climate
from unstir.domains.climate.judging import judge_climate
from unstir.domains.climate.task import default_network, default_process, predict_climate, read_climate

__all__ = ["climate"]

climate = Domain(
    name="climate",
    summary="weather and climate: calibrated ensembles for stations and grids",
    read=read_climate,
    restore=restore,
    network=default_network,
    draw=draw_climate,
    write=write_climate,
    process=default_process,
    judge=judge_climate,
    predict=predict_climate,
    references=(
        "Gneiting, Raftery, Strictly proper scoring rules, prediction, and estimation (2007).",
        "Price et al., Probabilistic weather forecasting with machine learning (2025).",
    ),
)
