"""What all tests share: shapes and types checked at every call, one thread, the same examples every time."""

import hypothesis
import torch
from jaxtyping import install_import_hook

# before anything of unstir is imported: the hook works on modules as they load
install_import_hook("unstir", "beartype.beartype")

torch.set_num_threads(1)

# the examples of a property come from a fixed seed, and a slow machine is no failure
hypothesis.settings.register_profile("unstir", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("unstir")
