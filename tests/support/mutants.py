"""Whether a check tells a deliberately broken copy from its original."""

from unstir.verification.base import Effort

QUICK = Effort(quick=True)


def misses(check, subject):
    """Whether any figure misses its bounds; an exception is no figure. Stops at the first that does."""
    return any(not figure.passed for figure in check(subject, QUICK))


def is_caught(check, original, mutant):
    """The mutant misses a bound and the original none (None where the contract over all entries says so)."""
    assert original is None or not misses(check, original), "the check fails the original too"
    return misses(check, mutant)
