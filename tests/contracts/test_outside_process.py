"""One process costs one file, and no line elsewhere: another package brings one, and all that is general serves it."""

import numpy as np
import pytest
import torch
from thinning import ThinningProcess

from unstir.core.catalogue import build, entries, find
from unstir.core.seeds import Seeds
from unstir.exact.atoms import AtomsDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.joint import JointProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample, samplers_for
from unstir.training.loop import train
from unstir.verification.base import Effort
from unstir.verification.runner import checks_for, measure


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package, as an installer would leave it."""
    metadata = tmp_path / "thinning-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: thinning\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[unstir.processes]\nthinning = thinning:ThinningProcess\n"
        "[unstir.learned]\nthinned = thinning:ThinnedDenoiser\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    entries.cache_clear()
    yield
    entries.cache_clear()


@pytest.mark.parametrize("name", checks_for("processes", "thinning", quick=True))
def test_its_claims_are_measured(installed, name):
    """Every claim that `unstir verify` makes of processes in general."""
    (process,) = find("processes", "thinning").load().examples().values()
    check = checks_for("processes", "thinning", quick=True)[name]
    finding = measure(check, process, Effort(quick=True))
    assert finding.status in ("passed", ""), finding.reason or [f for f in finding.measured if not f.passed]


def test_the_claims_are_many(installed):
    assert len(checks_for("processes", "thinning", quick=True)) >= 7
    assert "ancestral" in samplers_for("counts")


class _Counts:
    """Two species that avoid each other, counted at many places."""

    name, shape, conditions, digest = "counts", (2,), {}, "0" * 64

    def __init__(self):
        hidden = Seeds.range(0, 512).generator()
        rates = np.where(hidden.random((512, 1)) < 0.5, [[6.0, 0.5]], [[0.5, 3.0]])
        self.values = torch.from_numpy(hidden.poisson(rates)).long()

    def __len__(self):
        return len(self.values)

    def batch(self, rows, seeds=None):
        return self.values[rows], {}


def test_a_network_learns_it(installed, tmp_path):
    """Trained as anything else is; the species come out avoiding each other."""
    process, data = ThinningProcess(), _Counts()
    denoiser = find("learned", process.learned).load()(None, process)
    shape, outputs = denoiser.network_size(data.shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser.network = build("networks", {"name": "mlp", "width": 32, "depth": 2}, shape=shape, outputs=outputs)
    options = {
        "steps": 300, "batch": 64, "learning_rate": {"name": "constant", "peak": 3e-3},
        "weighting": {"name": "clean"}, "noise_levels": {"name": "uniform"},
    }  # fmt: skip
    train(denoiser, data, options, tmp_path, progress=False)
    drawn = sample(denoiser, AncestralSampler(), data.shape, 512, steps=30, batch=512).double()
    truth = data.values.double()
    # 5 standard errors of means of 512 draws each, and a tenth for what 300 steps leave to be learned
    error = (truth.var(0) / 256).sqrt()
    assert ((drawn.mean(0) - truth.mean(0)).abs() < 5 * error + 0.1 * truth.mean(0)).all()
    assert torch.corrcoef(truth.T)[0, 1] < -0.4
    assert torch.corrcoef(drawn.T)[0, 1] < -0.25


def test_it_joins_others():
    """As a part of a joint process, exact belief and all."""
    process = JointProcess({"count": ThinningProcess(), "place": GaussianProcess()})
    law = AtomsDenoiser(process, process.example_data(6))
    drawn = sample(law, AncestralSampler(), law.shape, 40, steps=6, batch=40, dtype=torch.float64)
    near = (drawn["place"][:, None] - law.atoms["place"]).norm(dim=2).argmin(1)
    assert torch.equal(drawn["count"], law.atoms["count"][near])
