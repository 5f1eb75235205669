"""Small networks with weights drawn at random, since a fresh one starts at zero and would hide everything."""

from unstir.core.catalogue import entries
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.networks.mlp import MLP
from unstir.networks.unet import UNet
from unstir.processes.gaussian import GaussianProcess
from unstir.verification.references import stirred


def small_unet(conditions=None, **options):
    network = UNet(
        (1, 8, 8), conditions, widths=(8, 16), blocks=1, attention=(1,), head_width=8, embedding=16, **options
    )
    return NetworkDenoiser(stirred(network), GaussianProcess())


def small_mlp(conditions=None, **options):
    network = MLP((5,), conditions, **{"width": 24, "depth": 2, "embedding": 16, **options})
    return NetworkDenoiser(stirred(network), GaussianProcess())


def of_tensors():
    """The names of the architectures that take a state as one tensor, not in parts."""
    return sorted(
        name for name, entry in entries("networks").items() if getattr(entry.load(), "takes", "tensors") != "parts"
    )
