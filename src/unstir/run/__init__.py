"""A recipe made into a run folder: reading recipes, building their parts, and the verbs.

``recipe.py`` reads and checks a recipe, ``parts.py`` makes the objects it names, ``folder.py`` is the
run folder, ``provenance.py`` what makes a run repeatable, and ``training.py``, ``sampling.py``,
``evaluation.py`` and ``likelihood.py`` hold one verb each. May import everything from ``domains`` downwards, but not
``report``.
"""
