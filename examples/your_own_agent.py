"""Play the naming game with a custom agent: one agent sees points, the other counts words.

    python examples/your_own_agent.py

A custom agent needs one method, `redraw` (protocol `mhng.inference.types.Player`). It draws the agent's parameters
given its signs, and returns the log-likelihood of every object under every sign. Here the objects have four classes.
The agent that sees points confuses classes 2 and 3, the agent that counts words confuses classes 0 and 1. Only signs
are exchanged; together the agents distinguish all four classes.
"""

import torch
from sklearn.metrics import adjusted_rand_score, cohen_kappa_score
from torch import Tensor
from torch.distributions import Dirichlet

from mhng import Belief, Game, NormalWishart, Percepts, init, play

# Per class: centre of its points, and expected number of occurrences of five words.
CENTRES = torch.tensor([[3.0, 0], [0, 3], [-2, -2], [-2, -2]])
WORDS = torch.tensor([[4.0, 4, 1, 1, 1], [4, 4, 1, 1, 1], [1, 1, 8, 1, 1], [1, 1, 1, 1, 8]])
N, K, CHAINS = 200, 4, 16


class WordCounter:
    """Agent with the mixture x_n ~ Multinomial(theta_k), theta_k ~ Dirichlet(1, ..., 1); counts x (N, D)."""

    def __init__(self, counts: Tensor) -> None:
        self.counts = counts.double()

    def redraw(self, generator: torch.Generator, signs: Tensor, K: int, previous: object = None) -> Belief:
        """Draw theta given signs (C, N)."""
        members = torch.nn.functional.one_hot(signs, K).double()  # (C, N, K)
        prior = torch.ones(K, self.counts.shape[1], dtype=torch.float64)
        alpha = prior + members.mT @ self.counts  # (C, K, D)
        gamma = torch._standard_gamma(alpha, generator=generator)
        theta = gamma / gamma.sum(-1, keepdim=True)
        return Belief(
            table=self.counts @ theta.log().mT,  # (C, N, K) log p(x_n | w_n = k, theta)
            parameters=theta,
            log_density=Dirichlet(prior).log_prob(theta).sum(-1),  # (C,) log p(theta)
            evidence=(log_beta(alpha) - log_beta(prior)).sum(-1),  # (C,) log p(x | signs), theta integrated out
        )


def log_beta(alpha: Tensor) -> Tensor:
    """Log of the multivariate beta function. Multinomial coefficients are omitted: they do not depend on signs."""
    return alpha.lgamma().sum(-1) - alpha.sum(-1).lgamma()


def main() -> None:
    """Play without and with communication, and print the scores of the chain with the highest evidence."""
    data = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % 4
    points = CENTRES[labels] + torch.randn(N, 2, generator=data)
    players = [Percepts(points, NormalWishart(latent=2)), WordCounter(torch.poisson(WORDS[labels], generator=data))]
    for mode in ("no-com", "com"):
        generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        signs = torch.randint(K, (CHAINS, 2, N), generator=data)
        game = Game(torch.full((K,), 1 / K, dtype=torch.float64).log(), mode=mode)
        state, trace = play(game, players, generators, init(players, generators, signs, K), sweeps=100)
        best = int(trace.evidence[:, -1].argmax())
        seen, counted = state.signs[best]
        print(
            f"{mode}: ARI {adjusted_rand_score(labels, seen):.2f} (points), "
            f"{adjusted_rand_score(labels, counted):.2f} (words), kappa {cohen_kappa_score(seen, counted):.2f}"
        )
    rates = trace.accepted[best, -50:].double().mean(0) / N
    print(f"acceptance rate of the last 50 sweeps: by points {rates[0]:.2f}, by words {rates[1]:.2f}")


if __name__ == "__main__":
    main()
