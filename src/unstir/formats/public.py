"""Fetching of named public sets: once, checked against SHA-256, then kept in the user's cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unstir.core.errors import InputError


@dataclass(frozen=True)
class PublicFiles:
    """The files of one set: SHA-256 by file name; and the addresses that hold them, tried in order."""

    name: str
    hashes: Mapping[str, str]
    mirrors: tuple[str, ...]

    def fetch(self, folder: Path | None, files: tuple[str, ...]) -> list[Path]:
        """The files' places on disk; those that are not in ``folder`` (else: the user's cache) yet are fetched.

        Raises InputError if no mirror answers, or if none sends the content that the hash wants.
        """
        import pooch

        folder = folder or Path(pooch.os_cache("unstir")) / self.name
        return [self._fetch_one(folder, file) for file in files]

    def _fetch_one(self, folder: Path, file: str) -> Path:
        import pooch

        failures = []
        for mirror in self.mirrors:
            try:
                expected = f"sha256:{self.hashes[file]}"
                return Path(pooch.retrieve(mirror + file, expected, fname=file, path=folder, progressbar=True))
            except Exception as error:  # whatever the mirror's failure is, the next one may do
                failures.append(f"{mirror}: {' '.join(str(error).split())[:200]}")
        raise InputError(
            f"{self.name}: {file} could not be fetched. {'; '.join(failures)}. Without a network, put the file into "
            f"{folder} and try again, or name its folder by `data.path`"
        )
