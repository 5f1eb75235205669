"""Errors say what was seen, what is allowed and what to do."""

import pickle

import pytest

from unstir.core.errors import InputError, NonFiniteError, NotInstalledError, UnstirError, suggest, unknown

NAMES = ["heun", "euler", "ddim"]


def test_a_near_name_is_suggested_and_all_are_listed():
    error = unknown("sampler", "ddmi", NAMES)
    assert isinstance(error, InputError)
    assert str(error) == "unknown sampler 'ddmi'; did you mean 'ddim'? Allowed: ddim, euler, heun."


@pytest.mark.parametrize(
    ("name", "allowed", "text"),
    [
        ("qqqq", NAMES, "Allowed: ddim, euler, heun."),
        ("x", [], "Allowed: none."),
        ("", NAMES, "Allowed: ddim, euler, heun."),
    ],
)
def test_without_a_near_name_only_the_allowed_ones_are_said(name, allowed, text):
    assert suggest(name, allowed) == text


def test_a_missing_package_is_named_with_the_extra_that_brings_it():
    error = NotInstalledError("h5py", "arrays", "Reading HDF5")
    assert str(error).startswith("Reading HDF5 needs the package 'h5py'")
    assert "pip install 'unstir[arrays]'" in str(error)


@pytest.mark.parametrize(
    ("kind", "builtin"), [(InputError, ValueError), (NotInstalledError, ImportError), (NonFiniteError, ArithmeticError)]
)
def test_errors_can_be_caught_as_unstirs_and_as_pythons(kind, builtin):
    assert issubclass(kind, UnstirError)
    assert issubclass(kind, builtin)


def test_errors_survive_the_way_back_from_a_worker_process():
    error = NotInstalledError("zarr", "arrays", "reading Zarr")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is NotInstalledError and str(again) == str(error)
