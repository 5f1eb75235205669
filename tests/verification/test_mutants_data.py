"""Deliberately broken metrics, formats and fields of data: each misses a bound that its original keeps."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from mutants import is_caught, misses

from unstir.core.catalogue import find
from unstir.domains.images.encoding import ImageEncoding
from unstir.formats.base import Format, Samples
from unstir.metrics.base import Measurement, Metric
from unstir.metrics.frechet import Frechet
from unstir.metrics.kernel import Kernel
from unstir.verification.checks import (
    domains,
    formats,
    metrics,
    recipes,
)
from unstir.verification.subjects import subjects

# metrics


class FirstRows(Frechet):
    """Looks at the first rows only."""

    def measure(self, samples, reference, seeds):
        return super().measure(samples.take(torch.arange(50)), reference, seeds)


class Blind(Metric):
    """Sees nothing."""

    def measure(self, samples, reference, seeds):
        return Measurement(0.0, lambda counts: torch.zeros(len(counts), dtype=torch.float64))


class Endless(Frechet):
    def measure(self, samples, reference, seeds):
        found = super().measure(samples, reference, seeds)
        return Measurement(1 / max(found.value - 1, 0) if found.value < 1 else found.value, found.resampled)


class NotSquared(Frechet):
    def measure(self, samples, reference, seeds):
        found = super().measure(samples, reference, seeds)
        return Measurement(found.value**0.5, lambda counts: found.resampled(counts)[:1])


@pytest.mark.parametrize(
    ("check", "original", "mutant"),
    [
        (metrics.metric_row_order, Frechet(), FirstRows()),
        (metrics.metric_defects, Frechet(), Blind()),
        (metrics.metric_frechet_of_normals, Frechet(), NotSquared()),
        (metrics.metric_replicates, Frechet(), NotSquared()),
    ],
)
def test_metrics(check, original, mutant):
    assert is_caught(check, original, mutant)


def test_a_kernel_that_counts_pairs_of_a_row_with_itself(monkeypatch):
    assert not misses(metrics.metric_equal_laws, Kernel())
    right = Kernel.measure

    def biased(self, samples, reference, seeds):
        own = [((part.features.square().mean(1) + 1) ** 3).mean().item() / len(part) for part in (samples, reference)]
        found = right(self, samples, reference, seeds)
        return Measurement(found.value + sum(own), found.resampled)

    monkeypatch.setattr(Kernel, "measure", biased)
    assert misses(metrics.metric_equal_laws, Kernel())


def test_a_kernel_of_another_power(monkeypatch):
    assert not misses(metrics.metric_kernel_of_normals, Kernel())
    monkeypatch.setattr(
        "unstir.metrics.kernel._gram", lambda first, second: (first @ second.T / first.shape[1] + 1) ** 2
    )
    assert misses(metrics.metric_kernel_of_normals, Kernel())


def test_a_metric_that_is_not_finite():
    class Broken(Blind):
        def measure(self, samples, reference, seeds):
            spread = samples.values.std().item()
            return Measurement(0.0 if spread else math.nan, lambda counts: counts.sum(1))

    assert is_caught(metrics.metric_finite, Frechet(), Broken())


# formats, domains and recipes


def leaking(path):
    return Samples(np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 7), str(path))


def forgiving(path, **options):
    content = np.frombuffer(path.read_bytes()[128:].ljust(240 * 4, b"\0")[: 240 * 4], np.float32)
    return Samples(np.nan_to_num(content).reshape(12, 4, 5), str(path))


def test_a_format_that_lets_errors_of_its_library_out(tmp_path):
    original = find("formats", "npy").load()
    assert is_caught(formats.format_refusal, original, replace(original, read=leaking))


def test_a_format_that_takes_everything_for_its_own():
    original = find("formats", "npy").load()
    assert is_caught(formats.format_recognition, original, replace(original, matches=lambda path: True))


@pytest.mark.parametrize("check", [formats.format_damage, formats.format_round_trip])
def test_a_format_that_fills_up_what_is_missing(check, monkeypatch):
    original = find("formats", "npy").load()
    assert not misses(check, original)
    wrong = forgiving if check is formats.format_damage else lambda path: _backwards(original.read(path))
    module = __import__("unstir.formats.npy", fromlist=["npy"])
    monkeypatch.setattr(module, "npy", Format(original.looks_for, original.matches, wrong))
    assert misses(check, module.npy)


def _backwards(samples):
    return Samples(np.asarray(samples.values)[::-1], samples.source)


def test_an_encoding_that_loses_a_level(monkeypatch):
    domain = find("domains", "images").load()
    assert not misses(domains.domain_encoding, domain)
    right = ImageEncoding.encode
    monkeypatch.setattr(ImageEncoding, "encode", lambda self, values: right(self, values) * 0.9)
    assert misses(domains.domain_encoding, domain)


@pytest.mark.parametrize(
    ("check", "part", "change"),
    [
        (
            domains.domain_writing,
            "write",
            lambda write: lambda encoding, state, *a, **k: write(encoding, state.flip(0), *a, **k),
        ),
        (domains.domain_drawing, "draw", lambda draw: lambda encoding, state, **k: draw(encoding, state[:1], **k)),
        (domains.domain_network, "network", lambda network: lambda data: {"name": "mlp", "width": 8}),
    ],
    ids=["written backwards", "only the first drawn", "a network of another shape"],
)
def test_domains(check, part, change):
    domain = find("domains", "images").load()
    mutant = replace(domain, **{part: change(getattr(domain, part))})
    if part == "network":
        assert not misses(check, mutant), "any network that fits will do"
    else:
        assert is_caught(check, domain, mutant)


def test_a_recipe_that_does_not_resolve_to_itself(monkeypatch):
    (recipe,) = subjects("recipes", find("recipes", "digits")).values()
    assert not misses(recipes.recipe_resolution, recipe)
    right, calls = recipes.load, []

    def drifting(source, overrides=()):
        calls.append(source)
        return replace(right(source, overrides), seed=len(calls))

    monkeypatch.setattr(recipes, "load", drifting)
    assert misses(recipes.recipe_resolution, recipe)
