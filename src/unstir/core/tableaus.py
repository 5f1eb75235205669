"""Butcher tableaux of explicit Runge-Kutta methods: coefficients, and nothing that computes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tableau:
    """The coefficients of an explicit method: ``nodes`` c, the lower triangle ``matrix`` a, ``weights`` b.

    ``error`` holds b less the weights of the embedded method, whose order is ``embedded``; empty where there is none.
    """

    order: int
    nodes: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    error: tuple[float, ...] = ()
    embedded: int = 0

    @property
    def first_same_as_last(self) -> bool:
        """Whether the last stage is the first one of the next step."""
        return self.nodes[-1] == 1 and (*self.matrix[-1], 0.0) == self.weights


EULER = Tableau(1, (0.0,), ((),), (1.0,))
MIDPOINT = Tableau(2, (0.0, 0.5), ((), (0.5,)), (0.0, 1.0))
HEUN = Tableau(2, (0.0, 1.0), ((), (1.0,)), (0.5, 0.5))
KUTTA_3 = Tableau(3, (0.0, 0.5, 1.0), ((), (0.5,), (-1.0, 2.0)), (1 / 6, 2 / 3, 1 / 6))
RUNGE_KUTTA_4 = Tableau(
    4, (0.0, 0.5, 0.5, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)
)

# Bogacki, Shampine, A 3(2) pair of Runge-Kutta formulas (1989)
BOGACKI_SHAMPINE = Tableau(
    3,
    (0.0, 1 / 2, 3 / 4, 1.0),
    ((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    (2 / 9, 1 / 3, 4 / 9, 0.0),
    (-5 / 72, 1 / 12, 1 / 9, -1 / 8),
    2,
)

# Dormand, Prince, A family of embedded Runge-Kutta formulae (1980), table 2
DORMAND_PRINCE = Tableau(
    5,
    (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
    (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
    4,
)
