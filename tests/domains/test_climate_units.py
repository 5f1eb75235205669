"""Units: as CF and archives write them, converted as by hand, and the errors for those that cannot be."""

import numpy as np
import pytest

from unstir.core.errors import InputError
from unstir.domains.climate.files.units import conversion, with_units

xr = pytest.importorskip("xarray")
pytest.importorskip("pint")


def temperatures(values=(280.0, 285.0, 290.0), unit="K", name="t2m", **attributes):
    told = {**attributes, **({} if unit is None else {"units": unit})}
    return xr.Dataset({name: ("time", np.array(values, dtype=np.float32), told)}, {"time": np.arange(len(values))})


@pytest.mark.parametrize(
    ("source", "target", "factor", "offset"),
    [
        ("K", "degC", 1, -273.15),
        ("degC", "degF", 1.8, 32),
        ("m s**-1", "km/h", 3.6, 0),  # as ECMWF writes it
        ("m s-1", "knot", 3600 / 1852, 0),
        ("hPa", "Pa", 100, 0),
        ("%", "1", 0.01, 0),
        ("(0 - 1)", "%", 100, 0),
        ("m**2 s**-2", "m2 s-2", 1, 0),
        ("gpm", "km", 1e-3, 0),
        ("mm", "inch", 1 / 25.4, 0),
        ("J m-2", "W h m-2", 1 / 3600, 0),
        ("kg m-2 s-1", "kg m-2 day-1", 86400, 0),
        ("degrees_north", "degree", 1, 0),
    ],
)
def test_conversions(source, target, factor, offset):
    found = conversion(source, target, "here")
    assert found[0] == pytest.approx(factor, rel=1e-12)
    assert found[1] == pytest.approx(offset, rel=1e-12)
    back = conversion(target, source, "here")
    assert back[0] * found[0] == pytest.approx(1, rel=1e-12)
    assert back[0] * found[1] + back[1] == pytest.approx(0, abs=1e-9)


def test_water_is_told_by_mass_or_by_height_and_nothing_else_is():
    assert conversion("kg m-2 s-1", "mm day-1", "here", water=True)[0] == pytest.approx(86400, rel=1e-12)
    assert conversion("m", "kg m-2", "here", water=True)[0] == pytest.approx(1000, rel=1e-12)
    with pytest.raises(InputError, match="cannot be converted"):
        conversion("kg m-2 s-1", "mm day-1", "here")
    with pytest.raises(InputError, match="cannot be converted"):
        conversion("K", "mm", "here", water=True)
    flux = temperatures((1e-5, 2e-5), "kg m-2 s-1", "pr", standard_name="precipitation_flux")
    assert with_units(flux, {"pr": "mm day-1"})["pr"].values == pytest.approx([0.864, 1.728], rel=1e-6)


def test_a_dataset_in_other_units():
    found = with_units(temperatures(long_name="2 metre temperature"), {"t2m": "degC"})
    assert found["t2m"].values == pytest.approx([6.85, 11.85, 16.85], abs=1e-4)
    assert found["t2m"].dtype == np.float32
    assert found["t2m"].attrs == {"units": "degC", "long_name": "2 metre temperature"}
    untouched = with_units(temperatures(), {})
    assert untouched["t2m"].attrs["units"] == "K"
    assert untouched["t2m"].identical(temperatures()["t2m"])


def test_a_unit_that_the_file_does_not_say_or_says_wrong():
    with pytest.raises(InputError, match="does not say the unit of 't2m'"):
        with_units(temperatures(unit=None), {"t2m": "degC"})
    found = with_units(temperatures(unit=None), {"t2m": {"from": "K", "to": "degC"}})
    assert float(found["t2m"][0]) == pytest.approx(6.85, abs=1e-4)
    only = with_units(temperatures((6.85, 11.85, 12.0), unit="K"), {"t2m": {"from": "degC"}})
    assert only["t2m"].attrs["units"] == "degC"
    assert float(only["t2m"][0]) == pytest.approx(6.85)
    # a table has no place to say units: what is asked for says what is there
    table = with_units(temperatures((1.0, 2.0), None, "rain"), {"rain": "mm"}, stated_by_table=True)
    assert table["rain"].values == pytest.approx([1, 2])
    assert table["rain"].attrs["units"] == "mm"


@pytest.mark.parametrize(
    ("dataset", "asked", "message"),
    [
        (temperatures(unit="m"), {"t2m": "degC"}, r"in 'm' as the file says|cannot be converted"),
        (
            temperatures(unit="m", name="h"),
            {"h": "degC"},
            "cannot be converted to 'degC'.*ask for a unit of the same kind",
        ),
        (temperatures(name="h"), {"h": "degrees of warmth"}, "is not understood; write units as CF does"),
        (temperatures(unit="florins", name="h"), {"h": "K"}, "'florins' is not understood"),
        (temperatures((7.0, 12.0, 17.0)), {}, "air temperature in 'K' as the file says, but 12 K in the median"),
        (temperatures((7.0, 12.0, 17.0)), {"t2m": "degC"}, "cannot be; if the unit is another"),
        (temperatures(unit="degC"), {}, "air temperature in 'degC'"),
        (temperatures(), {"t2n": "K"}, "did you mean 't2m'"),
        (temperatures(), {"t2m": {"form": "K"}}, "allowed are from and to"),
        (temperatures(), {"t2m": {}}, "allowed are from and to"),
        (temperatures(unit="dB", name="h"), {"h": "1"}, "leads no factor and offset"),
    ],
)
def test_units_that_cannot_be(dataset, asked, message):
    with pytest.raises(InputError, match=message):
        with_units(dataset, asked)


def test_an_anomaly_may_be_near_zero():
    found = with_units(temperatures((-1.0, 0.0, 2.0), long_name="temperature anomaly"), {})
    assert found["t2m"].values == pytest.approx([-1, 0, 2])
