"""Proper scores and verification of ensemble forecasts: how good they are, and whether their chances can be believed.

Everything here is a pure function, in float64, of ensembles (cases, members, *shape) or probabilities (cases, *shape)
and of what came true (cases, *shape); it knows of no field, model or run. A score is lower the better, and proper: the
true law has the best mean. With ``fair``, which is the default, ensembles are judged as if they had members without
number, so that ensembles of different size can be compared. Where the observation is NaN the score is NaN. May import
``unstir.core`` only (layer 0+)::

    from unstir.scores.crps import crps

To add a score: a function with its formula, unit and ``Reference:`` in the file of its family, named in the file's
``__all__``, and a claim for ``unstir verify``. ``base.py`` holds the checks of shapes.
"""
