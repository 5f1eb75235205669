"""The twist of any process: draws from the belief, of which one is chosen by how well it fits."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.seeds import Seeds
from unstir.core.state import map_state, take
from unstir.denoisers.base import Denoiser
from unstir.inverse.methods.twists import Seen, Twist, tempered
from unstir.processes.joint import Drawn


@dataclass(frozen=True)
class Candidates(Seen):
    """``draws`` from the belief, states by number, and the log-shares (batch, draws) in which one will be chosen."""

    draws: tuple[Any, ...]
    log_shares: Tensor

    def take(self, rows: Tensor) -> "Candidates":
        draws = tuple(take(draw, rows) for draw in self.draws)
        return Candidates(take(self.mean, rows), self.log_twist[rows], draws, self.log_shares[rows])


@dataclass(frozen=True)
class CandidateTwist(Twist):
    r"""Any process: of ``count`` draws from the belief one is chosen by how well it fits, and the bridge leads there.

    At x_t the draws :math:`u_1..u_M\sim p(x_0|x_t)` give the twist :math:`\psi_t=\frac1M\sum_ig(u_i)`,
    :math:`g=G^{\beta_t}`, and the shares :math:`w_i=g(u_i)/\sum_jg(u_j)`. The proposal is
    :math:`\sum_iw_iq(x_s|x_t,u_i)`.

    Why it is right. Let the particle carry its draws. Given them, the ratio
    :math:`r=\frac1M\sum_iq(x_s|x_t,u_i)\,/\sum_iw_iq(x_s|x_t,u_i)` has, for every f,
    :math:`E[r f(x_s)]=\frac1M\sum_i\int q(x_s|x_t,u_i)f`, and over the draws that is
    :math:`\int p(x_s|x_t)f`, the model's own transition. So (x_s, r) is properly weighted; the twist is a positive
    function of what the particle carries, and divides out. At s = 0, where the bridge is a point,
    :math:`r=\frac1M\sum_jg(u_j)/g(u_i)` for the one chosen, which is properly weighted for the same reason.
    :math:`q(x_s|x_t,u)\propto q(x_s|u)/q(x_t|u)` by Markov's property: densities of the process are all it takes.

    With the exact belief there is no error of discretisation, whatever the number of steps.

    Reference: Del Moral, Doucet, Jasra, Sequential Monte Carlo samplers (2006), section 3, for extended targets;
    Andrieu, Doucet, Holenstein, Particle Markov chain Monte Carlo methods (2010), section 4, for random weights.
    """

    count: int = 16

    def look(self, denoiser: Denoiser, x: Any, t: Tensor, seeds: Seeds, mask: Tensor | None) -> Candidates:
        belief = denoiser(x, t)
        share = self.share(denoiser.process, t)
        draws = tuple(
            denoiser.process.masked(belief.sample(seeds.at("candidate", number)), mask) for number in range(self.count)
        )
        logs = torch.stack([tempered(share, self.potential(draw)) for draw in draws], 1)
        total = logs.logsumexp(1)
        # where no candidate fits, one of them goes on with no weight
        shares = torch.where(total[:, None] > -torch.inf, logs - total[:, None], -math.log(self.count))
        return Candidates(belief.mean, total - math.log(self.count), draws, shares)

    def propose(
        self, process: Any, x: Any, seen: Candidates, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None
    ) -> tuple[Any, Tensor]:
        chosen = choose(seen.log_shares, seeds.at("chosen"))
        rows = torch.arange(len(chosen), device=chosen.device)
        clean = map_state(lambda *parts: torch.stack(parts)[chosen, rows], *seen.draws)
        xs = process.bridge(x, Drawn(clean), t, s, seeds.at("bridge"), mask)
        if s == 0:
            return xs, -seen.log_shares[rows, chosen] - math.log(self.count)
        ways = torch.stack(
            [
                process.log_density(xs, draw, s).double() - process.log_density(x, draw, t).double()
                for draw in seen.draws
            ],
            1,
        )
        ways = torch.where(ways.isnan(), -torch.inf, ways)
        return xs, ways.logsumexp(1) - math.log(self.count) - (ways + seen.log_shares).logsumexp(1)
