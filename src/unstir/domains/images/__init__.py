"""Pictures of any size and number of channels, with or without labels.

Data of this field: float32 (channels, height, width) in [-1, 1]; class numbers as the condition ``label``.
May import what ``domains`` may. ``data`` reads and encodes (``crops`` cuts), ``augmentation`` changes, ``drawing``
draws, ``writing`` writes, ``defaults`` proposes a network. A single picture is read and written by ``editing``, with
all that ``profile_writing`` keeps of its file; ``restoration`` has classical ways and the marks of age, ``style`` the
statistics of texture.
"""

from unstir.domains.base import Domain
from unstir.domains.images.data import read_images
from unstir.domains.images.defaults import default_network
from unstir.domains.images.drawing import draw_images
from unstir.domains.images.encoding import restore
from unstir.domains.images.writing import write_images

__all__ = ["images"]

images = Domain(
    name="images",
    summary="pictures of any size and number of channels, with or without labels",
    read=read_images,
    restore=restore,
    network=default_network,
    draw=draw_images,
    write=write_images,
)
