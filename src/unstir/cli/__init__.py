"""The command line: a thin shell that parses, calls and prints; one verb a function.

Heavy packages are imported inside the command that needs them, so that ``unstir --help`` answers at
once. May import everything.
"""

import sys


def main() -> None:
    """Runs the command line; errors that are the user's to mend end with exit code 2 and no traceback."""
    from unstir.cli.commands import app
    from unstir.core.errors import UnstirError

    try:
        app()
    except UnstirError as error:
        print(f"unstir: {error}", file=sys.stderr)
        raise SystemExit(2) from None
