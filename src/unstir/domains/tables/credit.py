r"""A synthetic table of credit decisions with a bias that is known: what fairness is tried on.

Groups a (60 %) and b; age and purpose do not depend on the group, income does a little. Whether somebody repays depends
on income, debt and age alone. The decision looks at the same, and is 1.2 logits harder on group b: that is the bias.
"""

import numpy as np

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds

ROWS = 4000
PENALTY = 1.2  # logits that being of group b costs
_PURPOSES = ("car", "home", "study")


def credit_table(count: int = ROWS, seed: int = 0, penalty: float = PENALTY) -> dict[str, list[str]]:
    """The table's columns as text: group, age, income (thousands a year), debt (its share), purpose, repays, decision.

    Raises InputError for fewer than 10 rows.
    """
    if count < 10:
        raise InputError(f"the credit table has 10 rows at least; seen {count}")
    draws = Seeds.range(seed, 1).at("credit").generator()
    second = draws.random(count) < 0.4
    age = np.clip(np.round(20 + 12 * draws.gamma(2.2, 1.0, count)), 18, 80)
    wage = 3.35 + 0.012 * (np.minimum(age, 55) - 40) - 0.1 * second + 0.35 * draws.standard_normal(count)
    income = np.round(np.exp(wage) * 2) / 2
    debt = np.round(draws.beta(2.0, 5.0, count), 2)
    purpose = draws.choice(len(_PURPOSES), count, p=(0.45, 0.35, 0.2))
    worth = 1.6 * (np.log(income) - 3.35) - 4.0 * (debt - 0.28) + 0.02 * (age - 45) + 0.3 * (purpose == 1)
    repays = draws.random(count) < _chance(1.0 + 1.5 * worth)
    granted = draws.random(count) < _chance(0.6 + 1.5 * worth + 0.8 * repays - penalty * second)
    return {
        "group": ["b" if each else "a" for each in second],
        "age": [f"{each:.0f}" for each in age],
        "income": [f"{each:.1f}" for each in income],
        "debt": [f"{each:.2f}" for each in debt],
        "purpose": [_PURPOSES[each] for each in purpose],
        "repays": ["yes" if each else "no" for each in repays],
        "decision": ["granted" if each else "refused" for each in granted],
    }


def _chance(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))
