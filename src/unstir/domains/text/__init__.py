"""Text in characters: any UTF-8 file, in windows of one length.

Data of this field: int64 (length,), a class a character, the end of the text held out.
May import what ``domains`` may. ``source`` reads, ``data`` splits and cuts, ``encoding`` numbers the characters,
``drawing`` and ``writing`` bring samples out, ``defaults`` proposes process and network, ``judging`` measures:
``costs`` of held-out text and what is ``sampled``, beside the models ``ngrams`` and ``autoregressive`` and what
``baselines`` counts; ``figures`` shows.
"""

from unstir.domains.base import Domain
from unstir.domains.text.data import read_text
from unstir.domains.text.defaults import default_network, default_process
from unstir.domains.text.drawing import draw_text
from unstir.domains.text.encoding import restore
from unstir.domains.text.judging import judge_text
from unstir.domains.text.writing import write_text

__all__ = ["text"]

text = Domain(
    name="text",
    summary="text in characters, from any UTF-8 file",
    read=read_text,
    restore=restore,
    network=default_network,
    draw=draw_text,
    write=write_text,
    process=default_process,
    judge=judge_text,
    references=(
        "Austin et al., Structured denoising diffusion models in discrete state-spaces (2021)",
        "Sahoo et al., Simple and effective masked diffusion language models (2024)",
    ),
)
