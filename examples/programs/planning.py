"""Planning as inference: two agents agree on a plan for a 3 x 3 grid. Each knows of one pit only.

    python examples/programs/planning.py
    python cli.py prove examples/programs/planning.py:twin

The signs are the steps of the plan. L(w) of an agent is the probability that the plan is optimal, as far as it knows:
the plan ends at the goal, and does not lead through its pit (control as inference).
"""

import pyro
import pyro.distributions as dist
import torch

from mhng import NamingGame, ProgramPlayer, turns

STEPS = torch.tensor([[0, 1], [1, 0], [0, -1], [-1, 0]])  # right, down, left, up
# A plan tends to go on in its direction.
MOVE = 0.2 + 0.2 * torch.eye(4, dtype=torch.float64)
RIGHT, DOWN = 0, 1


def cells(plan):
    """The cells 0 ... 8 that a plan leads through, from the upper left corner; walls stop it."""
    place, passed = torch.zeros(2, dtype=torch.int64), []
    for w in plan:
        place = (place + STEPS[w]).clamp(0, 2)
        passed.append(3 * place[..., 0] + place[..., 1])
    return passed


def planner(seen, steps, goal, trust):
    """An agent: its eyes report a pit, `trust` is the probability that they are right."""
    danger = pyro.sample("danger", dist.Beta(torch.tensor(200 * trust - 100, dtype=torch.float64), 1.0))
    pit = pyro.sample("pit", dist.Categorical(torch.ones(9, dtype=torch.float64)))
    eyes = (1 - trust) / 8 + (trust - (1 - trust) / 8) * torch.eye(9, dtype=torch.float64)
    pyro.sample("seen", dist.Categorical(eyes[pit]), obs=seen)
    plan = []
    for t in range(steps):
        plan.append(pyro.sample(f"w_{t}", dist.Categorical(MOVE[plan[-1] if plan else DOWN])))
    passed = cells(plan)
    falls = torch.stack([(cell == pit).double() for cell in passed]).amax(0)
    arrives = torch.where(passed[-1] == goal, trust, 1 - trust)
    pyro.sample("optimal", dist.Bernoulli(arrives * (1 - falls * danger)), obs=torch.tensor(1.0, dtype=torch.float64))


def game(pits=(1, 7), steps=4, goal=8, trust=0.998) -> NamingGame:
    """The game about a plan; A sees the first pit, B the second."""
    players = {
        name: ProgramPlayer(planner, torch.tensor(pit), steps, goal, trust)
        for name, pit in zip("AB", pits, strict=True)
    }
    return NamingGame(players, sign="w_*", turn=turns.whole())


def twin() -> NamingGame:
    """Two steps to the middle, with bad eyes: 16 plans to enumerate."""
    return game((1, 3), 2, 4, 0.75)


def successes(plans, pits=(1, 7), goal=8):
    """The share of plans (C, T) that end at the goal and avoid all pits."""
    passed = torch.stack(cells(plans.T), dim=1)
    return float(((passed[:, -1] == goal) & ~torch.isin(passed, torch.tensor(pits)).any(1)).double().mean())


def main(chains: int = 200, sweeps: int = 30) -> None:
    """Play and print the successes of plans of agents that talk, and of agents that plan alone."""
    together = game()
    print(f"talking: {successes(together.play(chains, sweeps, thin=sweeps)['w'][:, 0]):.2f}")
    for name, player in together.players.items():
        alone = NamingGame({name: player}, sign="w_*", turn=turns.whole())
        print(f"{name} alone: {successes(alone.play(chains, sweeps, thin=sweeps)['w'][:, 0]):.2f}")


if __name__ == "__main__":
    main()
