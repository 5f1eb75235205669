"""The checks found, run (in several processes if wanted), and their findings kept as they come."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import unstir
from unstir.core.catalogue import KINDS, Entry, entries
from unstir.core.errors import InputError, NotInstalledError, suggest
from unstir.core.workers import worker_pool
from unstir.run.folder import write_text
from unstir.verification.base import Check, Claim, Effort, Measured, NotMeasured
from unstir.verification.findings import FAILED, LEFT_OUT, PASSED, Finding, to_plain
from unstir.verification.subjects import subjects

_PAUSE = 2.0  # seconds between two savings of what has been found


@dataclass(frozen=True)
class Task:
    """One check on one entry: what is handed to a process."""

    kind: str
    entry: str
    check: str


def measure(check: Check, subject: Any, effort: Effort) -> Finding:
    """Runs one check on one made object; whatever it raises is a failure, and none of the caller's trouble."""
    told: Claim = check.claim  # type: ignore[attr-defined]  # the mark of @claim
    begun = time.perf_counter()
    measured: list[Measured] = []
    reason, status = "", PASSED
    try:
        measured.extend(check(subject, effort))
    except NotMeasured as left_out:
        reason, status = str(left_out), "" if left_out.silent else LEFT_OUT
    except NotInstalledError as missing:
        reason, status = str(missing), LEFT_OUT
    except Exception as error:
        reason, status = f"{type(error).__name__}: {error}", FAILED
    else:
        if not measured:
            reason, status = "the check measured nothing", FAILED
    if not all(figure.passed for figure in measured):
        status = FAILED
    name, seconds = check.__name__.replace("_", "-"), time.perf_counter() - begun
    return Finding(told.kind, "", "", name, _sentence(check), tuple(measured), seconds, reason, status)


def checks_for(kind: str, entry: str, quick: bool = False) -> dict[str, Check]:
    """The checks that concern an entry, by name."""
    return {name: check for name, check in _all_checks().items() if _concerns(check, kind, entry, quick)}


def tasks(names: Iterable[str] = (), quick: bool = False) -> list[Task]:
    """Every check of every entry, or of those asked for: a kind, an entry, or kind/entry.

    Raises InputError for a name that is neither.
    """
    chosen: list[Entry] = []
    everything = {kind: entries(kind) for kind in KINDS if kind != "checks"}
    for name in names:
        kind, _, wanted = name.partition("/")
        if kind in everything and (not wanted or wanted in everything[kind]):
            chosen += [everything[kind][wanted]] if wanted else everything[kind].values()
        elif found := [known[name] for known in everything.values() if name in known]:
            chosen += found
        else:
            known_names = [*everything, *(entry for known in everything.values() for entry in known)]
            raise InputError(f"nothing in the catalogue is called {name!r}; {suggest(name, known_names)}")
    if not names:
        chosen = [entry for known in everything.values() for entry in known.values()]
    unique = dict.fromkeys((entry.kind, entry.name) for entry in chosen)
    checks = _all_checks()
    return [
        Task(kind, entry, name)
        for kind, entry in unique
        for name, check in checks.items()
        if _concerns(check, kind, entry, quick)
    ]


def perform(task: Task, effort: Effort) -> list[Finding]:
    """Runs a task's check on each subject of its entry; an entry that cannot be made is left out, or fails."""
    check = _loaded(entries("checks")[task.check])
    place = {"kind": task.kind, "entry": task.entry}
    try:
        made = subjects(task.kind, entries(task.kind)[task.entry])
    except NotMeasured as left_out:
        return [_unmade(check, task, str(left_out), LEFT_OUT)]
    except Exception as error:
        return [_unmade(check, task, f"{type(error).__name__}: {error}", FAILED)]
    found = [replace(measure(check, subject, effort), subject=label, **place) for label, subject in made.items()]
    return [finding for finding in found if finding.status]


def run(
    names: Iterable[str] = (),
    effort: Effort | None = None,
    workers: int = 1,
    keep: Path | None = None,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Runs all tasks and returns the record: circumstances and findings, as plain values.

    ``keep`` is a JSON file that holds the record from the first finding on; one that was interrupted goes on
    where it stopped, if code, versions, seed and effort are still the same.
    """
    effort = effort or Effort()
    names = list(names)
    to_do = tasks(names, effort.quick)
    record = circumstances_of(names, effort)
    done: dict[str, list[dict[str, Any]]] = _kept(keep, record) if keep else {}
    left = [task for task in to_do if _address(task) not in done]
    if progress:
        progress(len(to_do) - len(left))
    begun, saved, pause = time.perf_counter(), time.perf_counter(), _PAUSE
    try:
        for task, findings in _performed(left, effort, workers):
            done[_address(task)] = [to_plain(finding) for finding in findings]
            if progress:
                progress(1)
            if keep and (now := time.perf_counter()) - saved > pause:
                write(keep, {**record, "complete": False, "findings": done})
                saved = time.perf_counter()
                pause = max(_PAUSE, 20 * (saved - now))  # the record grows: writing it stays a twentieth of the time
    except KeyboardInterrupt:
        if keep:
            write(keep, {**record, "complete": False, "findings": done})
        raise
    record["seconds"] = round(time.perf_counter() - begun, 2)
    record["complete"] = True
    record["findings"] = [finding for task in to_do for finding in done[_address(task)]]
    if keep:
        write(keep, record)
    return record


def _performed(left: list[Task], effort: Effort, workers: int) -> Iterator[tuple[Task, list[Finding]]]:
    if workers <= 1 or len(left) < 2:
        for task in left:
            yield task, perform(task, effort)
        return
    with worker_pool(workers, _one_thread) as pool:
        futures = {pool.submit(perform, task, effort): task for task in left}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _all_checks() -> dict[str, Check]:
    return {name: _loaded(entry) for name, entry in entries("checks").items()}


def _loaded(entry: Entry) -> Check:
    try:
        check = entry.load()
    except Exception as error:
        raise InputError(f"the check {entry.name!r} ({entry.target}) cannot be loaded: {error}") from error
    if not isinstance(getattr(check, "claim", None), Claim):
        raise InputError(f"the check {entry.name!r} ({entry.target}) is not marked with @claim")
    return check


def _concerns(check: Check, kind: str, entry: str, quick: bool) -> bool:
    told: Claim = check.claim  # type: ignore[attr-defined]
    return told.kind == kind and (not told.only or entry in told.only) and not (quick and told.slow)


def _sentence(check: Check) -> str:
    """The claim: the first line of the docstring."""
    return (check.__doc__ or "").strip().split("\n")[0]


def _unmade(check: Check, task: Task, reason: str, status: str) -> Finding:
    return Finding(task.kind, task.entry, task.entry, task.check, _sentence(check), (), 0.0, reason, status)


def _address(task: Task) -> str:
    return f"{task.kind}/{task.entry}/{task.check}"


def circumstances_of(names: list[str], effort: Effort) -> dict[str, Any]:
    """What a record says of where its findings come from."""
    from unstir.run.provenance import circumstances

    return {**circumstances(), "source": _source_digest(), "asked": names, "quick": effort.quick, "seed": effort.seed}


def _source_digest() -> str:
    """SHA-256 of the package's own files."""
    digest = hashlib.sha256()
    root = Path(unstir.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _kept(path: Path, record: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The findings of an interrupted run under the same circumstances."""
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    binding = ("source", "packages", "python", "asked", "quick", "seed")
    if not isinstance(old, dict) or old.get("complete", True) or any(old.get(key) != record[key] for key in binding):
        return {}
    return dict(old["findings"])


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a record as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + os.linesep)
