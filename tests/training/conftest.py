"""Puts this folder on the path, for ``toy_problem`` and for the scripts that tests start as processes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
