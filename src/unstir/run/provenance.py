"""What a run has to keep so that it can be repeated: versions, machine, data, seeds, command."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import unstir

_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "safetensors", "Pillow", "h5py", "zarr")


def provenance(data_name: str, data_digest: str, rows: int, seed: int) -> dict[str, Any]:
    """The facts of a run as plain values."""
    return {**circumstances(), "data": {"name": data_name, "sha256": data_digest, "rows": rows}, "seed": seed}


def circumstances() -> dict[str, Any]:
    """The facts of this process: versions, machine, the command as it was typed, the time."""
    import torch

    return {
        "unstir": unstir.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES if _version(name)},
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "command": shlex.join(["unstir", *sys.argv[1:]]) if Path(sys.argv[0]).name == "unstir" else None,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of a source checkout, marked where it has uncommitted changes; None in an installed package."""
    if not _git("ls-files", "__init__.py"):  # the package may lie inside another project's checkout
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*") or None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(unstir.__file__).parent), *arguments]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
