"""``python -m unstir.cli``, as torchrun starts it."""

from unstir.cli import main

main()
