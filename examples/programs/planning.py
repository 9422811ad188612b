"""Planning as inference: two agents agree on a plan for a 3 x 3 grid. Each knows of one pit only.

    python examples/programs/planning.py
    python cli.py play examples/programs/planning.py:game --sweeps 100 --out runs/plans
    python cli.py prove examples/programs/planning.py:twin

The signs are the steps of the plan. L(w) of an agent is the probability that the plan succeeds, as far as it knows:
a plan that ends at the goal and avoids the pit succeeds with the agent's skill (control as inference).
"""

import pyro
import pyro.distributions as dist
import torch

from mhng import NamingGame, ProgramPlayer, turns

STEPS = torch.tensor([[0, 1], [1, 0], [0, -1], [-1, 0]])  # right, down, left, up
# A plan tends to go on in its direction.
MOVE = 0.2 + 0.2 * torch.eye(4, dtype=torch.float64)
RIGHT, DOWN = 0, 1


def cells(plan, size):
    """The cells 0, 1, ... that a plan leads through, from the upper left corner; walls stop it."""
    place, passed = torch.zeros(2, dtype=torch.int64), []
    for w in plan:
        place = (place + STEPS[w]).clamp(0, size - 1)
        passed.append(size * place[..., 0] + place[..., 1])
    return passed


def planner(seen, size, goal, steps, eyes, skill):
    """An agent: its eyes report where the pit is. It asks for a plan that succeeds."""
    skill = pyro.sample("skill", dist.Beta(torch.tensor(skill, dtype=torch.float64), 1.0))
    pit = pyro.sample("pit", dist.Categorical(torch.ones(size**2, dtype=torch.float64)))
    reports = torch.full((size**2,) * 2, (1 - eyes) / (size**2 - 1), dtype=torch.float64).fill_diagonal_(eyes)
    pyro.sample("seen", dist.Categorical(reports[pit]), obs=seen)
    plan = []
    for t in range(steps):
        plan.append(pyro.sample(f"w_{t}", dist.Categorical(MOVE[plan[-1] if plan else DOWN])))
    passed = cells(plan, size)
    good = (passed[-1] == goal) & ~torch.stack([cell == pit for cell in passed]).any(0)
    succeeds = dist.Bernoulli(torch.where(good, skill, 1 - skill))
    pyro.sample("succeeds", succeeds, obs=torch.tensor(1.0, dtype=torch.float64))


def game(pits=(1, 7), size=3, goal=8, steps=4, eyes=0.998, skill=500.0) -> NamingGame:
    """The game about a plan; A sees the first pit, B the second."""
    players = {
        name: ProgramPlayer(planner, torch.tensor(pit), size, goal, steps, eyes, skill)
        for name, pit in zip("AB", pits, strict=True)
    }
    return NamingGame(players, sign="w_*", turn=turns.whole())


def twin() -> NamingGame:
    """Two steps down a 2 x 2 grid, with bad eyes and unknown skills: 16 plans to enumerate."""
    return game((1, 3), 2, 2, 2, 0.9, 2.0)


def successes(plans, pits=(1, 7)):
    """The share of plans (C, T) that end at the goal and avoid all pits."""
    passed = torch.stack(cells(plans.T, 3), dim=1)
    return float(((passed[:, -1] == 8) & ~torch.isin(passed, torch.tensor(pits)).any(1)).double().mean())


def main(chains: int = 200, sweeps: int = 30, seed: int = 0) -> None:
    """Play and print the successes of plans of agents that talk, and of agents that plan alone."""
    together = game()
    print(f"talking: {successes(together.play(chains, sweeps, thin=sweeps, seed=seed)['w'][:, 0]):.2f}")
    for name, player in together.players.items():
        alone = NamingGame({name: player}, sign="w_*", turn=turns.whole())
        print(f"{name} alone: {successes(alone.play(chains, sweeps, thin=sweeps, seed=seed)['w'][:, 0]):.2f}")


if __name__ == "__main__":
    main()
