"""Play the naming game on given latents: no images, no VAE, no run folder.

    python examples/game_only.py

Two agents hold latents of the same 100 objects, four clusters in three dimensions. The script prints how often
each agent accepts a proposal, and how many objects have one name at the end.
"""

import torch

from mhng import Game, NormalWishart, Percepts, init, play


def main(seed: int = 0) -> None:
    """Play 50 sweeps and print acceptance and agreement."""
    torch.manual_seed(seed)
    cluster = torch.arange(100) % 4
    centres = 4 * torch.randn(2, 4, 3, dtype=torch.float64)  # agents, clusters, dimensions
    z = centres[:, cluster] + torch.randn(2, 100, 3, dtype=torch.float64)  # agents, objects, dimensions

    players = [Percepts(latents, NormalWishart(latent=3)) for latents in z]
    generators = [torch.Generator().manual_seed(seed + m) for m in range(2)]
    game = Game(log_prior=torch.full((4,), 0.25, dtype=torch.float64).log(), mode="com")
    signs = torch.randint(4, (1, 2, 100))  # chains, agents, objects
    state, trace = play(game, players, generators, init(players, generators, signs, K=4), sweeps=50)

    rates = trace.accepted[0, -10:].double().mean(0) / 100
    agreed = (state.signs[0, 0] == state.signs[0, 1]).double().mean()
    print(f"acceptance: A {rates[0]:.2f}, B {rates[1]:.2f}; objects with one name: {agreed:.2f}")


if __name__ == "__main__":
    main()
