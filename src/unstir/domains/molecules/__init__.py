"""Molecules: atoms in space with their elements, charges and bonds; or as strings, for screening sizes.

Data of this field: a dict of float32 ``positions`` (batch, atoms, 3) in angstrom about their centre, and int64
``elements`` (batch, atoms), ``charges`` (batch, atoms) and ``bonds`` (batch, pairs) where there are several kinds of
them; padded, with a ``mask``. ``files`` reads and writes, ``loading`` checks and completes, ``encoding`` and ``data``
make states of molecules, ``embedded`` are those that come with a dependency, ``tasks`` and ``strings`` what else is
asked for; ``measures``, ``judging``, ``figures`` and ``drawing`` measure and show. May import what ``domains`` may.
"""

from typing import Any

from unstir.domains.base import Domain
from unstir.domains.molecules.data import default_network, default_process, read_molecules, restore_molecules
from unstir.domains.molecules.files.writing import write_molecules

__all__ = ["molecules"]


def _draw(encoding: Any, *arguments: Any, **options: Any) -> Any:
    if hasattr(encoding, "alphabet"):
        from unstir.domains.molecules.strings.drawing import draw_strings

        return draw_strings(encoding, *arguments, **options)
    from unstir.domains.molecules.drawing import draw_molecules

    return draw_molecules(encoding, *arguments, **options)


def _judge(judged: Any) -> Any:
    if hasattr(judged.data.encoding, "alphabet"):
        from unstir.domains.molecules.strings.judging import judge_strings

        return judge_strings(judged)
    if "bonds" in judged.data.encoding.given:
        from unstir.domains.molecules.tasks.judging import judge_conformers

        return judge_conformers(judged)
    from unstir.domains.molecules.judging import judge_molecules

    return judge_molecules(judged)


def _ask(*arguments: Any, **options: Any) -> Any:
    from unstir.domains.molecules.asking import ask

    return ask(*arguments, **options)


def _predict(asked: Any) -> Any:
    from unstir.domains.molecules.tasks.predicting import predict_molecules

    return predict_molecules(asked)


molecules = Domain(
    name="molecules",
    summary="molecules in space, with elements, charges and bonds, or as strings",
    read=read_molecules,
    restore=restore_molecules,
    network=default_network,
    draw=_draw,
    write=write_molecules,
    process=default_process,
    judge=_judge,
    predict=_predict,
    ask=_ask,
    told=True,
    predicted=".sdf",
    references=(
        "Hoogeboom et al., Equivariant diffusion for molecule generation in 3D (ICML 2022).",
        "Vignac et al., MiDi: mixed graph and 3D denoising diffusion for molecule generation (ECML PKDD 2023).",
    ),
)
