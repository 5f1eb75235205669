"""Charts of fields and of extremes: maps with their spread, spectra, return levels and what lies beyond a threshold."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains import charts
from unstir.domains.base import Figure
from unstir.domains.climate.charts_ensembles import hue
from unstir.scores.extremes import ReturnLevels

_BINS = 40


def maps(
    observed: Any,
    ensemble: Any,
    rows: Any,
    columns: Any,
    *,
    quantity: str,
    unit: str,
    names: tuple[str, str] = ("latitude", "longitude"),
    title: str = "",
) -> Figure:
    """One case's maps: what came true (rows, columns), of (members, rows, columns) mean, spread and two members.

    ``rows`` and ``columns``: the coordinates of both axes, which ``names`` names. All share one range of colours but
    the spread, which has its own. Coastlines are drawn on latitudes and longitudes if cartopy is there.
    Raises InputError for other shapes.
    """
    observed, ensemble, rows, columns = (charts.array(each) for each in (observed, ensemble, rows, columns))
    if observed.shape != (len(rows), len(columns)) or ensemble.shape[1:] != observed.shape or ensemble.ndim != 3:
        raise InputError(
            f"maps need observations ({len(rows)}, {len(columns)}) and an ensemble (members, ...) of that shape; seen "
            f"{observed.shape} and {ensemble.shape}"
        )
    shown = [("came true", observed), ("mean of the members", ensemble.mean(0))]
    shown += [(f"member {number + 1}", ensemble[number]) for number in range(min(2, len(ensemble)))]
    if len(ensemble) > 1:
        shown.append(("spread of the members", ensemble.std(0, ddof=1)))
    wide = min(max(np.ptp(columns) / max(np.ptp(rows), 1e-12), 0.6), 2.4) if len(rows) > 1 and len(columns) > 1 else 1.5
    figure, axes = charts.panels(2, 3, 2.35, 0.5 + 2.0 / wide)
    values = np.concatenate([each.ravel() for name, each in shown if not name.startswith("spread")])
    low, high = np.nanquantile(values, [0.002, 0.998])
    shared: list[Any] = []
    for place, each in enumerate(axes.flat):
        if place >= len(shown):
            each.set_visible(False)
            continue
        name, field = shown[place]
        spread = name.startswith("spread")
        style = {"cmap": "magma", "vmin": 0} if spread else {"cmap": "viridis", "vmin": low, "vmax": high}
        each.set_facecolor(charts.RULE)  # missing values
        image = each.pcolormesh(columns, rows, np.ma.masked_invalid(field), shading="nearest", rasterized=True, **style)
        if names == ("latitude", "longitude"):
            _draw_coasts(each, columns, rows)
        charts.label(each, name, names[1] if place >= 2 else "", names[0] if not place % 3 else "")
        if spread:
            _bar(figure, image, each, f"spread, {unit}")
        else:
            shared.append((each, image))
    _bar(figure, shared[0][1], [axes.flat[2]], f"{quantity}, {unit}")
    return Figure(
        "maps",
        title or f"Maps of {quantity}",
        f"One forecast of the test part in {unit}: what came true, the mean of the members, two of them, and their "
        "spread. Grey is missing.",
        "Members should be as rough as what came true, and differ where the spread is large; the mean alone is smooth.",
        charts.svg(figure, "maps"),
    )


def spectrum_chart(
    wave_numbers: Any, powers: Mapping[str, Any], observed: Any, *, unit: str, wave_name: str = "wave number"
) -> Figure:
    """Power by wave number but 0: of what came true (k,), and of single members of each ensemble, (k,)."""
    waves, true = charts.array(wave_numbers), charts.array(observed)
    used = (waves > 0) & (true > 0)
    figure, ((left, right),) = charts.panels(1, 2, 3.4, 2.6)
    left.plot(waves[used], true[used], color=charts.DATA, linewidth=2.2, label="came true")
    right.axhline(1, color=charts.DATA, linewidth=2.2)
    for number, (name, power) in enumerate(powers.items()):
        power = charts.array(power)
        if power.shape != waves.shape:
            raise InputError(f"{name!r} has a power {power.shape} for {waves.shape} wave numbers")
        style: dict[str, Any] = {"color": hue(number), "linewidth": 1.5 if not number else 1.0}
        left.plot(waves[used], power[used], label=name, **style)
        right.plot(waves[used], power[used] / true[used], **style)
    left.set_yscale("log")
    for each in (left, right):
        _logarithmic(each, waves[used])
    right.set_ylim(0, 2)
    charts.label(left, "power", wave_name, f"{unit}²" if unit not in ("", "1") else "")
    charts.label(right, "over that of what came true", wave_name)
    charts.legend(left)
    return Figure(
        "spectrum",
        "Power by wave number",
        "The mean square of what varies at each wave number, of single members, beside that of what came true; on "
        "the right their quotient.",
        "Members should lie on what came true at every wave number: below, fields are too smooth, above, too rough. A "
        "mean of members falls off where nothing can be foretold.",
        charts.svg(figure, "spectrum"),
    )


def return_level_chart(
    fits: Mapping[str, ReturnLevels],
    seeds: Seeds,
    *,
    quantity: str,
    unit: str,
    period_name: str = "years",
    longest: float | None = None,
    replicates: int = 200,
) -> Figure:
    """Return levels of what was observed (first) and generated, with the values fitted to and 95 % bands.

    ``longest``: the last return period; ten times the first's record if None.
    """
    figure, ((each,),) = charts.panels(1, 1, 5.2, 3.2)
    end = longest or 10 * float(next(iter(fits.values())).observed()[0].max())
    for number, (name, fit) in enumerate(fits.items()):
        colour = charts.DATA if not number else hue(number - 1)
        start = max(1.05 / fit.rate, float(fit.observed()[0].min()))
        periods = np.geomspace(start * (1 + 1e-6), max(end, 2 * start), 60)
        low, high = fit.interval(periods, seeds.at(name), replicates)
        each.fill_between(periods, low, high, color=colour, alpha=0.18, linewidth=0)
        each.plot(periods, fit.level(periods), color=colour, linewidth=1.5, label=f"{name} (shape {fit.shape:+.2f})")
        own, values = fit.observed()
        seen = own >= start
        each.plot(own[seen], values[seen], "o", markersize=2.2, color=colour, alpha=0.7, linewidth=0)
    each.set_xscale("log")
    each.set_xlim(right=end)
    charts.label(each, "", f"return period, {period_name}", f"{quantity}, {unit}")
    charts.legend(each, loc="upper left")
    return Figure(
        "return-levels",
        f"Return levels of {quantity}",
        f"The level that is passed once in so many {period_name} in the mean: points are values by their rank, lines "
        "the fitted laws of extremes, bands their 95 % intervals by the bootstrap.",
        "The generated line should lie within the band of the observed one; beyond the record's length both are the "
        "law's word, not the data's.",
        charts.svg(figure, "return-levels"),
    )


def event_histogram(
    values: Mapping[str, Any], threshold: float, *, quantity: str, unit: str, above: bool = True
) -> Figure:
    """Densities of what was observed (first) and generated, logarithmic, with the shares beyond the threshold."""
    known = {name: charts.array(each).ravel() for name, each in values.items()}
    known = {name: each[np.isfinite(each)] for name, each in known.items()}
    if any(not len(each) for each in known.values()):
        raise InputError("a histogram needs a finite value of each; leave out those that have none")
    both = np.concatenate(list(known.values()))
    edges = np.linspace(both.min(), both.max() + 1e-12 * max(1.0, abs(both.max())), _BINS + 1)
    figure, ((each,),) = charts.panels(1, 1, 5.2, 2.8)
    for number, (name, rows) in enumerate(known.items()):
        colour = charts.DATA if not number else hue(number - 1)
        beyond = float((rows > threshold).mean() if above else (rows < threshold).mean())
        counts = np.histogram(rows, edges)[0] / len(rows) / np.diff(edges)
        told = f"{name}: {100 * beyond:.3g} % beyond"
        each.stairs(np.where(counts > 0, counts, np.nan), edges, color=colour, linewidth=1.5, label=told)
    each.axvline(threshold, color=charts.INK, linewidth=0.8, linestyle="--")
    each.set_yscale("log")
    charts.label(each, "", f"{quantity}, {unit}", "density")
    charts.legend(each)
    return Figure(
        "events",
        f"{quantity} {'above' if above else 'below'} {threshold:g} {unit}",
        "How often each value occurs, on a logarithmic scale, and the share beyond the threshold (dashed).",
        "Both lines should fall alike, in the tail too; steps of single values at the end are chance.",
        charts.svg(figure, "events"),
    )


def _logarithmic(axes: Any, values: np.ndarray) -> None:
    """A logarithmic axis with a few plain numbers, over one decade or several."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    several = len(values) and values.max() > 60 * values.min()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if several else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _bar(figure: Any, image: Any, axes: Any, told: str) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02)
    bar.ax.tick_params(labelsize=6.5, width=0.6, length=2)
    bar.outline.set_linewidth(0.4)
    bar.set_label(told, fontsize=7, color=charts.MUTED)


def _draw_coasts(axes: Any, columns: np.ndarray, rows: np.ndarray) -> None:
    """Coastlines where they fall within the map, whichever way its longitudes are counted."""
    limits = axes.get_xlim(), axes.get_ylim()
    for coast in coastlines():
        for turn in (-360.0, 0.0, 360.0):
            if (coast[:, 0] + turn).max() >= limits[0][0] and (coast[:, 0] + turn).min() <= limits[0][1]:
                axes.plot(coast[:, 0] + turn, coast[:, 1], color="white", linewidth=0.9, alpha=0.8)
                axes.plot(coast[:, 0] + turn, coast[:, 1], color=charts.INK, linewidth=0.4)
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])


@cache
def coastlines() -> tuple[np.ndarray, ...]:
    """Coastlines as longitudes and latitudes (n, 2), if cartopy and its data are here; nothing is fetched."""
    try:
        import cartopy  # type: ignore[import-not-found]
        from cartopy.io.shapereader import Reader  # type: ignore[import-not-found]
    except ImportError:
        return ()
    for home in ("pre_existing_data_dir", "data_dir"):
        for scale in ("110m", "50m"):
            path = Path(str(cartopy.config.get(home) or ".")) / "shapefiles/natural_earth/physical"
            file = path / f"ne_{scale}_coastline.shp"
            if file.exists():
                lines = [part for found in Reader(str(file)).geometries() for part in getattr(found, "geoms", [found])]
                return tuple(np.asarray(line.coords)[:, :2] for line in lines)
    return ()
