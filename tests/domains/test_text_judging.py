"""What is said of a model of text is what is known of it: here of models whose cost is known."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import CategoricalPosterior
from unstir.domains.base import Judged
from unstir.domains.text.costs import TextOptions, bound_bits
from unstir.domains.text.data import TextData, windows
from unstir.domains.text.judging import judge_text
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.schedules.log_linear import LogLinearSchedule
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample

LENGTH = 16


class Frequencies(Denoiser):
    """Knows how often each character is, and nothing of its neighbours: its cost is the frequencies' own."""

    def __init__(self, data, shares=None):
        super().__init__()
        self.process = CategoricalProcess(data.encoding.classes, LogLinearSchedule(), "absorbing")
        counts = np.bincount(data.codes, minlength=data.encoding.classes) + 1.0
        self.logs = nn.Parameter(torch.from_numpy(np.log(counts / counts.sum() if shares is None else shares)))

    def forward(self, xt, t, drop=None, **condition):
        known = torch.arange(self.process.classes) == xt[..., None]
        seen = (xt != self.process.mask_class)[..., None]
        logs = torch.where(seen, torch.where(known, 0.0, -torch.inf), self.logs.detach())
        return CategoricalPosterior(logs)


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    words = ["the", "a", "cat", "dog", "sees", "hears", "and", "old"]
    return TextData(" ".join(generator.choice(words, 3000)), "words", length=LENGTH, held_out=0.15)


def judged(data, count=40, **options):
    denoiser = Frequencies(data)

    def draw(number, seed=0, callback=None, **how):
        seeds = Seeds.range(seed, number)
        return sample(
            denoiser, AncestralSampler(), (LENGTH,), seeds=seeds, steps=6, grid="uniform", callback=callback, batch=8
        )

    return Judged(denoiser, data, None, draw(count), {}, draw, 0, {"windows": 40, "levels": 4, **options})


def result_of(judgement, name):
    return next(result for result in judgement.results if result.metric == name)


def test_the_bound_of_single_characters_is_their_cost(data):
    real = windows(data.held_out, LENGTH)
    denoiser = Frequencies(data)
    told, chance = bound_bits(denoiser, real, 3, 16, 2)
    wanted = -denoiser.logs.detach().numpy()[real.numpy()].mean(1) / np.log(2)
    assert 0 < chance < 0.05
    assert abs(told.mean() - wanted.mean()) < 5 * chance
    # and a model that has the frequencies wrong pays for it: the difference is its divergence
    wrong = Frequencies(data, np.full(data.encoding.classes, 1 / data.encoding.classes))
    told, chance = bound_bits(wrong, real, 3, 16, 2)
    assert abs(told.mean() - np.log2(data.encoding.classes)) < 5 * chance


def test_the_judgement_of_a_model_that_is_one_of_its_baselines(data):
    judgement = judge_text(judged(data))
    json.dumps([result.to_json() for result in judgement.results], allow_nan=False)
    cost = judgement.results[0]
    assert cost.metric == "bits-per-character" and cost.interval[0] < cost.value < cost.interval[1]
    spread = (cost.interval[1] - cost.interval[0]) / (2 * 1.96)
    assert abs(cost.value - cost.baselines["unigram"]) < 5 * spread
    ranked = [cost.baselines[name] for name in ("uniform", "unigram", "5-grams")]
    assert all(more > less for more, less in pairwise(ranked))
    assert cost.baselines["xz"] < cost.baselines["unigram"]  # eight words are soon in the dictionary
    assert cost.details["xz_alone"] > cost.baselines["xz"]
    for name in ("bits-by-grams", "character-entropy", "distinct-pieces", "longest-copy"):
        measure = result_of(judgement, name)
        half = (measure.interval[1] - measure.interval[0]) / 2
        low, high = measure.baselines["unigram"] - 4 * half, measure.baselines["unigram"] + 4 * half
        assert low <= measure.value <= high, name  # its samples are a unigram's
    assert result_of(judgement, "longest-copy").baselines["copies"] == LENGTH
    grams = result_of(judgement, "bits-by-grams")
    assert grams.value > 2 * grams.floor["value"] and grams.baselines["5-grams"] < grams.value


def test_repeated_samples_are_told_by_entropy_and_variety_though_the_grams_like_them(data):
    repeated = data.encoding.encode("the old the old ")
    told = replace(judged(data), drawn=torch.from_numpy(repeated)[None].repeat(40, 1))
    judgement = judge_text(told)
    for name in ("character-entropy", "distinct-pieces"):
        measure = result_of(judgement, name)
        assert measure.better == "higher" and measure.value < measure.floor["interval"][0]


def test_copies_of_the_training_text_are_told(data):
    rows = np.arange(0, 4000, 100)
    judgement = judge_text(replace(judged(data), drawn=data.batch(rows)[0]))
    copied = result_of(judgement, "longest-copy")
    assert copied.value == LENGTH > copied.floor["interval"][1] and copied.better == "lower"


def test_the_rival_is_trained_and_told_of(data):
    options = {"steps": 30, "batch": 8, "depth": 1, "learning_rate": {"name": "constant", "peak": 0.01}}
    judgement = judge_text(judged(data, autoregressive=options, windows=20))
    cost = judgement.results[0]
    assert cost.baselines["autoregressive"] < cost.baselines["uniform"]
    assert cost.details["autoregressive"]["steps"] == 30
    assert "30 steps of 8 windows" in cost.note and cost.note in judgement.remarks


def test_the_figures_show_text_and_charts(data):
    judgement = judge_text(judged(data))
    figures = {figure.name: figure for figure in judgement.figures}
    assert set(figures) == {"samples", "bits-per-character", "film-strip", "entropy"}
    for figure in figures.values():
        assert figure.seen and figure.judged and bool(figure.text) != bool(figure.svg)
        assert not figure.svg or "</svg>" in figure.svg
    strip = figures["film-strip"].text.splitlines()
    assert strip[0] == f"t = 1.00, {LENGTH} of {LENGTH} characters hidden" and strip[1] == "  " + "·" * LENGTH
    assert strip[-2] == f"t = 0.00, 0 of {LENGTH} characters hidden"
    hidden = [int(line.split(", ")[1].split()[0]) for line in strip[::2]]
    assert hidden == sorted(hidden, reverse=True)  # what has come up stays
    drawn = data.encoding.decode(judged(data).drawn)
    assert strip[-1].strip() == drawn[0].strip() and drawn[0] in figures["samples"].text


def test_another_held_out_text_is_read_with_the_training_texts_characters(data):
    other = TextData("the cat hears a dog and a cat, an old cat! " * 30, "other", length=LENGTH, rare=1)
    told = replace(judged(data, windows=None), held_out=other)
    cost = judge_text(told).results[0]
    codes = data.encoding.encode("".join(other.encoding.characters[c] for c in other.codes))
    assert cost.n_samples == len(codes) // LENGTH
    wanted = -Frequencies(data).logs.detach().numpy()[codes].mean() / np.log(2)
    assert cost.baselines["unigram"] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": 3}, "did you mean 'windows'"),
        ({"windows": 1}, "at least 2"),
        ({"levels": 0}, "at least 1"),
        ({"draws": 1.5}, "a whole number"),
        ({"order": True}, "a whole number"),
        ({"autoregressive": True}, "training options are needed"),
        ({"autoregressive": {"stpes": 3}}, "did you mean 'steps'"),
    ],
)
def test_bad_options_are_answered(options, said):
    with pytest.raises(InputError, match=said):
        TextOptions.of(options)


def test_text_cannot_be_judged_without_held_out_text_or_on_one_sample(data):
    alone = TextData("the cat and the dog " * 20, "no end", length=LENGTH, held_out=0, rare=1)
    with pytest.raises(InputError, match="what was held out"):
        judge_text(judged(alone))
    with pytest.raises(InputError, match="from 2 on"):
        judge_text(judged(data, count=1))
