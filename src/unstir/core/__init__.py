"""What everything stands on: state, addressed random draws, errors, the catalogue.

Imports nothing of unstir. A new file here must be needed by at least two of the rooms above.
"""
