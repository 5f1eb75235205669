"""The result of a run in one sentence, computed from its metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

from unstir.core.catalogue import entries
from unstir.report.markup import listed, number
from unstir.report.words import floor_of, inside_sentence, is_real, title_of, titled

_HEADLINE = ("frechet", "kernel")  # of pictures; other fields tell the most telling measure first
NEAR, CLEAR = 0.8, 0.9
"""Samples nearer to the training set than 0.8 of new data's distance are called suspicious; from 0.9 on, clear."""


def verdict(results: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> str:
    """How far from real data, which baselines are beaten, whether copied, whether classes are missing."""
    if not results:
        return "The samples of this run have not been measured yet."
    main = headline(results)
    clauses = [_distance(main) + _against_baselines(main)]
    rest = [clause for clause in (_memorisation(results), _classes(results, classes)) if clause]
    if rest:
        clauses.append(", and ".join(rest))
    return "; ".join(clauses) + "."


def headline(results: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The measure that the verdict speaks of."""
    return results[next((name for name in _HEADLINE if name in results), next(iter(results)))]


def beyond(result: Mapping[str, Any], value: float) -> float:
    """By how much ``value`` is better than the run's own; past the ideal nothing is gained.

    Without that a Gaussian far off the data would win the distance to the training set, whose ideal is one. Where the
    nearest to the ideal is best, either side of it loses.
    """
    if result.get("better") == "nearest":
        return abs(result["value"] - result["ideal"]) - abs(value - result["ideal"])
    sign = -1.0 if result.get("better", "lower") == "lower" else 1.0
    ideal = result.get("ideal")
    own, other = sign * result["value"], sign * value
    if ideal is not None:
        own, other = min(own, sign * ideal), min(other, sign * ideal)
    return other - own


def wins(result: Mapping[str, Any], value: float) -> str:
    """Whether a baseline's value is ahead of the run's: ``"clearly"``, ``"within"`` the run's interval, or ``""``."""
    if beyond(result, value) <= 0:
        return ""
    low, high = result.get("interval") or (result["value"],) * 2
    return "within" if low <= value <= high else "clearly"


def _distance(result: Mapping[str, Any]) -> str:
    name, value, floor = inside_sentence(result["metric"]), result["value"], result.get("floor")
    if result["metric"] not in entries("metrics"):  # what another field tells first need be no distance
        beside = f" ({floor_of(floor)}: {number(floor['value'])})" if floor and "value" in floor else ""
        return f"{title_of(result['metric'])}: {number(value)}{beside}"
    if not floor:
        return f"The samples come to a {name} of {number(value)}"
    lower = result.get("better", "lower") == "lower"
    worst = (floor.get("interval") or (floor["value"],) * 2)[1 if lower else 0]
    if (value <= worst) if lower else (value >= worst):
        return f"By the {name}, {number(value)}, the samples are as near to the data as other real examples would be"
    told = f"The samples come to a {name} of {number(value)}"
    if lower and floor["value"] > 0 and not result.get("ideal"):
        ratio = number(value / floor["value"], 2)
        return f"{told}, {ratio} times what as many real examples reach ({number(floor['value'])})"
    return f"{told}, where as many real examples reach {number(floor['value'])}"


def _against_baselines(result: Mapping[str, Any]) -> str:
    rivals = {name: value for name, value in (result.get("baselines") or {}).items() if not is_real(name)}
    if not rivals:
        return ""
    ranked = sorted(rivals, key=lambda name: -beyond(result, rivals[name]))
    unbeaten = [name for name in ranked if beyond(result, rivals[name]) >= 0]
    if not unbeaten:
        every = f"all {len(rivals)} baselines" if len(rivals) > 1 else "the baseline"
        return f", and beat {every} (the best, {titled(ranked[0])}, comes to {number(rivals[ranked[0]])})"
    if len(unbeaten) == len(rivals):
        return f", and beat no baseline (the best, {titled(ranked[0])}, comes to {number(rivals[ranked[0]])})"
    named = listed(f"{titled(name)} ({number(rivals[name])})" for name in unbeaten)
    return f", and beat {len(rivals) - len(unbeaten)} of {len(rivals)} baselines, but not {named}"


def memorised(results: Mapping[str, Mapping[str, Any]]) -> str | None:
    """``"clear"``, ``"suspicious"`` or ``"open"``; None where it was not measured.

    The distance to the training set is compared with held-out data's where there is some, else with one; the
    fraction of copied samples with the floor's highest value.
    """
    distance, copied = results.get("memorisation"), results.get("copied")
    if distance is None and copied is None:
        return None
    found = []
    if distance is not None:
        expected = (distance.get("baselines") or {}).get("held-out", 1.0)
        high = (distance.get("interval") or (distance["value"],) * 2)[1]
        found.append(
            "suspicious" if high < NEAR * expected else "clear" if distance["value"] >= CLEAR * expected else "open"
        )
    if copied is not None:
        usual = [
            (copied.get("floor") or {}).get("interval", (0, 0))[1],
            (copied.get("baselines") or {}).get("held-out", 0),
        ]
        low = (copied.get("interval") or (copied["value"],) * 2)[0]
        found.append("suspicious" if low > max(usual) else "clear")
    return next(state for state in ("suspicious", "open", "clear") if state in found)


def _memorisation(results: Mapping[str, Mapping[str, Any]]) -> str:
    state = memorised(results)
    words = {
        "clear": "there is no sign of memorisation",
        "open": "copying of training examples cannot be ruled out",
        "suspicious": "samples lie suspiciously near to training examples",
    }
    return words[state] if state else ""


def missing_classes(result: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """The names of the classes that the samples lack."""
    numbers = (result.get("details") or {}).get("missing") or []
    return [classes[place] if place < len(classes) else str(place) for place in numbers]


def _classes(results: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> str:
    result = results.get("missing-classes")
    if result is None:
        return ""
    count = round(result["value"])
    if not count:
        return f"all {len(classes)} classes are there" if classes else "no class is missing"
    names = missing_classes(result, classes)
    noun = "class" if count == 1 else "classes"
    return f"the {noun} {listed(names)} {'is' if count == 1 else 'are'} missing" if names else f"{count} {noun} missing"


def key_figures(results: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> list[tuple[str, str, str]]:
    """Up to four numbers for the head of the page: name, value, and what to hold it against."""
    found = []
    for name in (headline(results)["metric"], "coverage", "memorisation") if results else ():
        if result := results.get(name):
            floor = result.get("floor")
            beside = f"{floor_of(floor)}: {number(floor['value'])}" if floor else _ideally(result)
            found.append((title_of(name), number(result["value"]), beside))
    if (result := results.get("missing-classes")) and classes:
        present = len(classes) - round(result["value"])
        names = missing_classes(result, classes)
        found.append(
            (
                "Classes present",
                f"{present} of {len(classes)}",
                f"missing: {listed(names)}" if names else "none missing",
            )
        )
    return found


def _ideally(result: Mapping[str, Any]) -> str:
    ideal, rivals = result.get("ideal"), result.get("baselines") or {}
    if ideal or not rivals:  # no forecast of what is not known comes to an ideal of nought
        return f"ideal: {number(ideal)}"
    best = max(rivals, key=lambda name: beyond(result, rivals[name]))
    return f"best baseline: {number(rivals[best])}"
