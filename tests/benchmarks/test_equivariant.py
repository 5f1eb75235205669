"""The benchmark of networks of points in space: like is compared with like, and all of it is written down."""

import pytest
import torch
from benchmarks.equivariant import PARTS, DenseEGNN, main, molecules, networks


def test_the_dense_network_is_an_equivariant_one_that_does_not_see_padding():
    torch.manual_seed(0)
    network, (state, noise, mask) = DenseEGNN(16, 2).double(), molecules(batch=4)
    state, noise = {name: part.double() for name, part in state.items()}, noise.double()
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    answer = network(state, noise, mask=mask)
    turned = network({**state, "positions": state["positions"] @ turn}, noise, mask=mask)
    assert {name: part.shape[-1] for name, part in answer.items()} == {
        name: part.outputs for name, part in PARTS.items()
    }
    assert (turned["positions"] - answer["positions"] @ turn).abs().max() < 1e-12
    assert (turned["bonds"] - answer["bonds"]).abs().max() < 1e-12
    wild = {**state, "elements": state["elements"] + 7.0 * ~mask[..., None]}
    assert (network(wild, noise, mask=mask)["bonds"] - answer["bonds"]).abs().max() < 1e-12


def test_the_networks_have_about_as_many_parameters():
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks().items()}
    wanted = counts["a dense EGNN"]
    assert all(abs(count / wanted - 1) < 0.1 for count in counts.values()), counts


def test_the_table_is_written(tmp_path, capsys):
    threads = torch.get_num_threads()
    try:
        main(["--rounds", "1", "--batch", "4", "--scale", "0.1", "--output", str(tmp_path)])
    finally:
        torch.set_num_threads(threads)
    text = (tmp_path / "equivariant.md").read_text()
    assert capsys.readouterr().out.strip() in text
    molecules, crystals = (
        [line.split("|") for line in part.splitlines()[2:]] for part in text.split("\n\n") if part.startswith("|")
    )
    assert [row[1].strip() for row in molecules] == ["equivariant-transformer", "egnn", "a dense EGNN"]
    assert [row[1].strip() for row in crystals] == ["cells of 2 to 20 sites", "all of 20 sites"]
    for rows in (molecules, crystals):
        milliseconds, ratio = ([float(row[column]) for row in rows] for column in (3, 5))
        assert ratio[-1] == 1.0
        assert ratio[0] == pytest.approx(milliseconds[-1] / milliseconds[0], rel=0.1)
