"""Play the game with an agent of your own: one that counts words shares names with one that sees points.

    python examples/your_own_agent.py

The game asks one thing of an agent (`mhng.inference.types.Player`): given signs, draw what you believe of each sign,
and
say how likely your percepts are under it. Objects are of four kinds. The agent that sees points in a plane cannot tell
kinds 2 and 3 apart, the one that counts cannot tell 0 and 1 apart; nothing but signs passes between them.
"""

import torch
from torch import Tensor
from torch.distributions import Dirichlet

from mhng.experiment.metrics.partitions import ari, kappa
from mhng.inference.game import Game, init, play
from mhng.models.mixtures import NormalWishart
from mhng.models.percepts import Belief, Percepts
from mhng.models.rng import stream

PLACES = torch.tensor([[3.0, 0], [0, 3], [-2, -2], [-2, -2]])  # of each kind
WORDS = torch.tensor([[4.0, 4, 1, 1, 1], [4, 4, 1, 1, 1], [1, 1, 8, 1, 1], [1, 1, 1, 1, 8]])


class Counter:
    """x_n ~ Multinomial(theta_k), theta_k ~ Dirichlet(1, ..., 1); x (N, D) counts."""

    def __init__(self, counts: Tensor) -> None:
        self.counts = counts.double()

    def redraw(self, generator: torch.Generator, signs: Tensor, K: int, before: object = None) -> Belief:
        own = torch.nn.functional.one_hot(signs, K).double()  # (C, N) -> (C, N, K)
        prior = torch.ones(K, self.counts.shape[1], dtype=torch.float64)
        alpha = prior + own.mT @ self.counts  # (C, K, D)
        gamma = torch._standard_gamma(alpha, generator=generator)
        theta = gamma / gamma.sum(-1, keepdim=True)
        return Belief(
            table=self.counts @ theta.log().mT,  # (C, N, K) log p(x_n | w_n = k, theta)
            parameters=theta,
            log_density=Dirichlet(prior).log_prob(theta).sum(-1),  # (C,) log p(theta)
            evidence=(log_beta(alpha) - log_beta(prior)).sum(-1),  # (C,) log p(x | signs), theta integrated out
        )


def log_beta(alpha: Tensor) -> Tensor:  # multinomial coefficients are left out everywhere: they know no sign
    return alpha.lgamma().sum(-1) - alpha.sum(-1).lgamma()


def main(seed: int = 0) -> None:
    """Alone, then together; of sixteen chains the one that explains the percepts best."""
    world = stream(seed, "world")
    kind = torch.arange(200) % 4
    points = PLACES[kind] + torch.randn(200, 2, generator=world)
    players = [Percepts(points, NormalWishart(latent=2)), Counter(torch.poisson(WORDS[kind], generator=world))]
    for mode in ("no-com", "com"):
        generators = [stream(seed, name) for name in ("points", "words")]
        signs = torch.randint(4, (16, 2, 200), generator=world)  # chains, agents, objects
        game = Game(torch.full((4,), 0.25, dtype=torch.float64).log(), mode=mode)
        state, trace = play(game, players, generators, init(players, generators, signs, K=4), sweeps=100)
        best = int(trace.evidence[:, -1].argmax())
        first, second = state.signs[best].numpy()
        print(
            f"{mode}: ARI {ari(first, kind.numpy()):.2f} (points), {ari(second, kind.numpy()):.2f} (words), "
            f"kappa {kappa(first, second):.2f}"
        )
    accepted = trace.accepted[best, -50:].double().mean(0) / 200
    print(f"accepted by points {accepted[0]:.2f}, by words {accepted[1]:.2f} of what the other proposed")


if __name__ == "__main__":
    main()
