"""The claims, one file per kind of catalogue entry; see ``unstir.verification.base`` for what a check is."""
