"""Tables of mixed columns: numbers, positive numbers, ordered levels and categories in one row.

Data of this field: a dict of float32 ``continuous`` (batch, columns) of about unit scale, and int64 (batch, 1) for each
column of categories. ``columns`` and ``encoding`` know the columns' types, ``data`` reads, ``statistics``,
``stand_ins``, ``usefulness`` and ``judging`` measure, ``figures`` and ``drawing`` show and write. May import what
``domains`` may.
"""

from unstir.domains.base import Domain
from unstir.domains.tables.data import default_network, default_process, read_tables
from unstir.domains.tables.drawing import draw_tables, write_tables
from unstir.domains.tables.encoding import restore
from unstir.domains.tables.judging import judge_tables

__all__ = ["tables"]

tables = Domain(
    name="tables",
    summary="tables of mixed columns: numbers, ordered levels and categories",
    read=read_tables,
    restore=restore,
    network=default_network,
    draw=draw_tables,
    write=write_tables,
    process=default_process,
    judge=judge_tables,
    references=(
        "Kotelnikov et al., TabDDPM: modelling tabular data with diffusion models (ICML 2023).",
        "Shi et al., TabDiff: a mixed-type diffusion model for tabular data generation (ICLR 2025).",
    ),
)
