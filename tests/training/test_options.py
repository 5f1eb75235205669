import json

import pytest

from unstir.core.errors import InputError
from unstir.training.options import TrainingOptions, changed_options


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1; seen 0"),
        ({"batch": 2.5}, "batch must be a whole number"),
        ({"batch": True}, "batch must be a whole number"),
        ({"batch": 4, "accumulate": 5}, "accumulate must not exceed"),
        ({"threads": 0}, "threads must be"),
        ({"weight_decay": -1.0}, "weight_decay must be a number at least 0"),
        ({"weight_decay": "1e-3"}, "write 1.0e-3"),
        ({"clip": 0}, "clip must be a number above 0"),
        ({"eps": 0.0}, "eps must be a number above 0"),
        ({"betas": [0.9]}, "betas must be two numbers"),
        ({"betas": [0.9, 1.0]}, "betas must be a number from 0 to 1"),
        ({"drop_condition": 1.1}, "drop_condition must be a number from 0 to 1"),
        ({"precision": "float16"}, "one of auto, float32, bfloat16"),
        ({"parallel": "dp"}, "one of ddp, fsdp"),
        ({"compile": "yes"}, "one of auto, true, false"),
        ({"stratified": "no"}, "one of true, false"),
        ({"learning_rate": "cosin"}, "did you mean 'cosine'"),
        ({"learning_rate": {"name": "cosine", "peak": "1e-3"}}, "peak must be a number; seen '1e-3' .*1.0e-3"),
        ({"ema": {"name": "power", "lengths": [0.5]}}, "at most 0.2887"),
        ({"ema": {"name": "power", "lengths": [0.05, 0.0501]}}, "differ in their first three decimals"),
        ({"ema": {"name": "power", "length": 0.05}}, "did you mean 'lengths'"),
        ({"learning_rate": None}, "must be a name or"),
        ({"learning_rate": {"peak": 1.0}}, "must be a name or"),
        ({"weighting": "edn"}, "did you mean 'edm'"),
        ({"noise_levels": "lognormal"}, "did you mean 'log-normal'"),
        ({"trackers": "tensorboard"}, "must be a list"),
        ({"trackers": ["tensorbord"]}, "did you mean 'tensorboard'"),
        ({"ema": {"name": "pover"}}, "did you mean 'power'"),
        ({"learning_rte": 1e-3}, "did you mean 'learning_rate'"),
    ],
)
def test_bad_options_are_named(given, message):
    with pytest.raises(InputError, match=message):
        TrainingOptions.of(given)


def test_a_number_is_a_constant_learning_rate():
    assert TrainingOptions(learning_rate=0.01).learning_rate == {"name": "constant", "peak": 0.01}


def test_the_record_is_json_and_gives_the_same_options_again():
    options = TrainingOptions(steps=5, betas=(0.8, 0.9), trackers=({"name": "tensorboard"},), ema="classical")
    record = options.record()
    assert json.loads(json.dumps(record)) == record
    assert TrainingOptions.of(record).record() == record
    assert changed_options(record, options) == {}


def test_what_bears_on_the_weights_is_told_from_what_does_not():
    before = TrainingOptions(batch=64, learning_rate=0.1).record()
    now = TrainingOptions(batch=32, learning_rate=0.1, threads=2, log_every=7, steps=9, accumulate=2)
    assert changed_options(before, now) == {"batch": (64, 32)}
