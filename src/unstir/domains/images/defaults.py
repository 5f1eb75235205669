"""The network that suits pictures of a given size."""

from typing import Any

from unstir.training.data import Data

_SIZES = (  # longest side up to; channels at each level; levels with attention (those of at most 8×8)
    (8, [64, 128], [0, 1]),
    (16, [64, 128], [1]),
    (32, [64, 128, 256], [2]),
)


def default_network(data: Data) -> dict[str, Any]:
    """A U-Net whose work sits at 32×32 or below: larger pictures are folded into patches first.

    Sizes: to 8 pixels two levels with attention on both; to 16 two; to 32 three; beyond, the patch doubles with the
    side (2 for 64, 4 for 128, 8 for 256), and the channels grow by a half.
    """
    side, patch = max(data.shape[1:]), 1
    while -(-side // patch) > _SIZES[-1][0]:
        patch *= 2
    folded = -(-side // patch)
    _, widths, attention = next(size for size in _SIZES if folded <= size[0])
    if patch > 1:
        widths = [width * 3 // 2 for width in widths]
    return {"name": "unet", "widths": widths, "blocks": 2, "attention": attention, "patch": patch}
