"""What the report shows of text: a trajectory, samples, what a character costs, and how much is in a sample."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from unstir.domains.base import Figure
from unstir.domains.charts import DATA, INK, SAMPLES, label, legend, panels, svg
from unstir.domains.text.drawing import wrapped
from unstir.domains.text.encoding import TextEncoding

_RIVAL = "#999999"
_FRAMES = 7
_WIDE = 64
_SHOWN = 6
_MEANS = {
    "uniform": "all characters alike",
    "unigram": "each by how often it occurs",
    "xz": "a packer that has packed the training text before",
    "autoregressive": "a transformer of about the same size that has read as many windows from left to right",
}
_RULE = "─" * _WIDE


def film_strip(encoding: TextEncoding, states: Sequence[Tensor], times: Sequence[float]) -> Figure:
    """One trajectory, from nothing but masks to text: ``states`` int64 (n,), after each step, and their times."""
    kept = np.unique(np.linspace(0, len(states) - 1, min(len(states), _FRAMES)).round().astype(int))
    told = []
    for place in kept:
        hidden = int((states[place] >= encoding.classes).sum())
        told.append(f"t = {times[place]:.2f}, {hidden} of {len(states[place])} characters hidden")
        told += [f"  {line}" for line in wrapped(encoding.show(states[place][None])[0], _WIDE)]
    return Figure(
        "film-strip",
        "Unstirring",
        "One sample on its way from noise (above) to text (below). A dot is a character that is still masked, ⏎ the "
        "end of a line.",
        "Characters should come up all over the place and words close around them. What has once come up stays.",
        text="\n".join(told),
    )


def sample_texts(encoding: TextEncoding, drawn: Tensor, held_out: Tensor) -> Figure:
    """The first samples as they stand, and one piece of held-out text to hold them against."""
    texts = encoding.decode(drawn[:_SHOWN])
    told = f"\n{_RULE}\n".join(texts)
    real = encoding.decode(held_out[:1])[0]
    return Figure(
        "samples",
        "Samples",
        f"The first {len(texts)} of {len(drawn)} samples, none picked by hand; below the double rule a window of "
        "held-out text.",
        "Words should be words, brackets should close, and no two samples should say the same.",
        text=f"{told}\n{'═' * _WIDE}\n{real}",
    )


def cost_chart(value: float, interval: tuple[float, float], baselines: Mapping[str, float]) -> Figure:
    """Bits per character of held-out text: this run's bound beside what other means take."""
    rows = [("this run (at most)", value), *baselines.items()]
    rows.sort(key=lambda row: -row[1])
    chart, ((axes,),) = panels(1, 1, 6.2, 0.7 + 0.3 * len(rows))
    label(axes, x="bits per character of held-out text; fewer are better")
    for place, (name, bits) in enumerate(rows):
        own = name.startswith("this run")
        axes.barh(place, bits, 0.62, color=SAMPLES if own else _RIVAL)
        if own:
            axes.plot(interval, (place, place), color=INK, linewidth=1.2)
        axes.text(max(bits, interval[1] if own else 0) + 0.06, place, f"{bits:.2f}", va="center", fontsize=8, color=INK)
    told = "; ".join(f"{name.replace('-', ' ')}: {what}" for name, what in _MEANS.items() if name in baselines)
    axes.set_yticks(range(len(rows)), [name.replace("-", " ") for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.1 * max(bits for _, bits in rows))
    return Figure(
        "bits-per-character",
        "What a character costs",
        "Bits per character of text that the model has not seen: the bound of this run with its 95 % interval (the "
        "black line), and other means.",
        "A bound: the model's own cost is at most this. " + told[:1].upper() + told[1:] + ".",
        svg=svg(chart, "bits"),
    )


def entropy_chart(entropies: Mapping[str, np.ndarray], rival: str) -> Figure:
    """Histograms of the entropy of each sample's characters: of ``samples``, ``held-out`` windows, and a rival's."""
    chart, ((axes,),) = panels(1, 1, 6.2, 2.6)
    label(axes, x="entropy of a sample's characters (bits)", y="share")
    edges = np.histogram_bin_edges(np.concatenate([entropies[who] for who in ("samples", "held-out", rival)]), 24)
    strokes = {"held-out": (DATA, "-"), rival: (_RIVAL, (0, (4, 2))), "samples": (SAMPLES, "-")}
    for who, (colour, dash) in strokes.items():
        heights = np.histogram(entropies[who], edges)[0] / len(entropies[who])
        axes.stairs(heights, edges, color=colour, label=who.replace("-", " "), linewidth=1.5, linestyle=dash)
    legend(axes)
    return Figure(
        "entropy",
        "How much there is in a sample",
        "The entropy of the characters within each sample, beside that of windows of held-out text.",
        "The two solid lines should lie on each other. Samples far to the left say the same over and over, which a low "
        "cost per character would hide.",
        svg=svg(chart, "entropy"),
    )
