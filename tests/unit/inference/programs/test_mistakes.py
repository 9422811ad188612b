"""Mistakes in programs are one line that says what to do, when the game is made."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import NUTS

from mhng import NamingGame, ProgramPlayer, turns

PI = torch.tensor([0.5, 0.3, 0.2])
X = torch.tensor([0.1, -0.4, 1.2, 0.7])


def seen(x=X, pi=PI, N=4, site="w", plate="objects"):
    with pyro.plate(plate, N):
        w = pyro.sample(site, dist.Categorical(pi))
        pyro.sample("x", dist.Normal(w.float(), 1.0), obs=x)


def observed(x=X):
    with pyro.plate("objects", 4):
        pyro.sample("w", dist.Categorical(PI), obs=torch.tensor([0, 1, 2, 0]))


def subsampled(x=X):
    with pyro.plate("objects", 4, subsample_size=2):
        pyro.sample("w", dist.Categorical(PI))


def shared(x=X):
    spread = pyro.param("spread", torch.tensor(1.0), constraint=dist.constraints.positive)
    with pyro.plate("objects", 4):
        w = pyro.sample("w", dist.Categorical(PI))
        pyro.sample("x", dist.Normal(w.float(), spread), obs=x)


def with_unknown_prior(x=X):
    pi = pyro.sample("pi", dist.Dirichlet(torch.ones(3)))
    seen(x, pi)


def outside(x=X):
    with pyro.plate("objects", 4):
        w = pyro.sample("w", dist.Categorical(PI))
    pyro.sample("mean", dist.Normal(w.float().mean(), 1.0), obs=torch.tensor(0.3))


def coupled(x=X):
    with pyro.plate("objects", 4):
        w = pyro.sample("w", dist.Categorical(PI))
        pyro.sample("x", dist.Normal((w + w.roll(1)).float(), 1.0), obs=x)


def continuous(x=X):
    with pyro.plate("objects", 4):
        w = pyro.sample("w", dist.Normal(torch.zeros(()), 1.0))
        pyro.sample("x", dist.Normal(w, 1.0), obs=x)


def heavy(x=X):
    with pyro.plate("objects", 4):
        w = pyro.sample("w", dist.Normal(torch.zeros(()), 1.0))
        pyro.sample("x", dist.StudentT(3.0, w, 1.0), obs=x)


def bounded(x=X):
    w = pyro.sample("w", dist.Uniform(torch.zeros(()), 1.0))
    pyro.sample("x", dist.Normal(w, 1.0).expand([4]).to_event(1), obs=x)


def branching(x=X):
    with pyro.plate("objects", 4):
        w = pyro.sample("w", dist.Categorical(PI))
        pyro.sample("x", dist.Normal(w.float(), 1.0 + w.max().item()), obs=x)


def endless(x=X):
    with pyro.plate("objects", 4):
        u = pyro.sample("u", dist.Poisson(torch.tensor(2.0)))
        w = pyro.sample("w", dist.Categorical(PI))
        pyro.sample("x", dist.Normal(w + u, 1.0), obs=x)


def counted(x):
    with pyro.plate("objects", 4):
        w = pyro.sample("w", dist.Categorical(PI))
        pyro.sample("x", dist.Poisson(w + 1.0), obs=x)


def silent(x=X):
    with pyro.plate("objects", 4):
        pyro.sample("w", dist.Categorical(PI))


def real(x=X):
    with pyro.plate("objects", 4):
        w = pyro.sample("w", dist.Normal(torch.zeros(()), 2.0))
        pyro.sample("x", dist.Normal(w.abs(), 1.0), obs=x)


def guided(guide):
    return game(ProgramPlayer(real, X, guide=guide))


def guide_of(distribution, site="w", plate="objects"):
    def guide(x):
        with pyro.plate(plate, 4):
            pyro.sample(site, distribution)

    return guide


def guide_with_site(x):
    scale = pyro.sample("scale", dist.Gamma(2.0, 2.0))
    with pyro.plate("objects", 4):
        pyro.sample("w", dist.Normal(0.0, scale))


def indexed(x=X, prior=None, table=3):
    mu = pyro.sample("mu", dist.Normal(torch.zeros(table), 1.0).to_event(1))
    with pyro.plate("objects", 4):
        w = pyro.sample("w", dist.Categorical(PI) if prior is None else prior)
        pyro.sample("x", dist.Normal(mu[w], 1.0), obs=x)


def event(x=X):
    w = pyro.sample("w", dist.Categorical(PI).expand([4]).to_event(1))
    pyro.sample("x", dist.Normal(w.float(), 1.0).to_event(1), obs=x)


def several(x=X):
    w = torch.stack([pyro.sample(f"w_{n}", dist.Categorical(PI)) for n in range(4)])
    pyro.sample("x", dist.Normal(w.float(), 1.0).to_event(1), obs=x)


def global_nuisance(x=X):
    u = pyro.sample("u", dist.Bernoulli(torch.tensor(0.3)))
    with pyro.plate("objects", 4):
        w = pyro.sample("w", dist.Categorical(PI))
        pyro.sample("x", dist.Normal(w + u, 1.0), obs=x)


def game(*programs, **options):
    players = [program if isinstance(program, ProgramPlayer) else ProgramPlayer(program) for program in programs]
    return NamingGame(dict(zip("ABC", players, strict=False)), **options)


OTHER = ProgramPlayer(seen, pi=torch.tensor([0.2, 0.3, 0.5]))
MISTAKES = {
    "no such site": (lambda: game(seen, sign="v"), "agent A: the program has no site 'v'; its latent sites are w"),
    "a near name": (lambda: game(ProgramPlayer(seen, site="sign"), sign="signs"), "did you mean 'sign'?"),
    "observed": (lambda: game(observed), "agent A: site 'w' is observed; a sign must be latent, without obs="),
    "subsampled": (lambda: game(subsampled), "agent A: plate 'objects' takes 2 of 4 objects"),
    "priors differ": (lambda: game(seen, OTHER), "the priors of 'w' differ: .* pass prior='each'"),
    "unknown prior": (lambda: game(with_unknown_prior), "the prior of 'w' depends on a latent site"),
    "wrong plate": (lambda: game(seen, turn=turns.each("object")), "'w' is not in plate 'object' .* are 'objects'"),
    "outside the plate": (lambda: game(outside), "site 'mean' is outside plate 'objects' but depends on its signs"),
    "coupled objects": (lambda: game(coupled), "the density of an object depends on the signs of other objects"),
    "continuous": (
        lambda: game(continuous),
        "agent A: the sign .w. is continuous; pass guide='gaussian', or",
    ),
    "not quadratic": (
        lambda: game(ProgramPlayer(heavy, guide="gaussian")),
        "given beliefs, the log density is not quadratic in 'w'; pass guide=, a program",
    ),
    "bounded": (
        lambda: game(ProgramPlayer(bounded, guide="gaussian"), turn=turns.whole()),
        "given beliefs, the log density is not quadratic in 'w'; pass guide=, a program",
    ),
    "unknown guide": (
        lambda: game(ProgramPlayer(continuous, guide="normal")),
        "guide is 'normal'; expected 'gaussian' or a program",
    ),
    "guide": (lambda: game(ProgramPlayer(seen, guide=seen)), "agent A: the sign .w. is discrete; remove guide="),
    "vmap": (lambda: game(branching), r"does not run under vmap .* remove .item\(\), validate_args=True and branches"),
    "infinite support": (lambda: game(endless), "discrete site 'u' has infinitely many values"),
    "shapes": (lambda: game(seen, ProgramPlayer(seen, X[:3], N=3)), r"the signs differ: w of shape \(4,\) .* \(3,\)"),
    "a half line as guide": (
        lambda: guided(guide_of(dist.HalfNormal(torch.tensor(1.0)))),
        "agent A: the guide of 'w' must cover the support of the prior; it has no density at w = ",
    ),
    "a density formula beyond its support": (
        lambda: guided(guide_of(dist.Exponential(torch.tensor(1.0)))),
        "agent A: the guide of 'w' must cover the support of the prior",
    ),
    "a guide without the sign": (
        lambda: guided(guide_of(dist.Normal(torch.tensor(0.0), 1.0), "z")),
        "agent A: the guide has the site 'z', which is neither the sign nor a belief",
    ),
    "an empty guide": (lambda: guided(lambda x: None), "agent A: the guide has no site 'w'; sample the sign in it"),
    "a guide with a further site": (lambda: guided(guide_with_site), "agent A: the guide has the site 'scale'"),
    "a guide with another plate": (
        lambda: guided(guide_of(dist.Normal(torch.tensor(0.0), 1.0), plate="things")),
        "agent A: the guide draws 'w' outside plate 'objects'",
    ),
    "a guide without arguments": (
        lambda: guided(lambda: None),
        r"agent A: the guide fails.*: TypeError: .*0 positional arguments but 1 was given",
    ),
    "a column of observations": (
        lambda: game(ProgramPlayer(seen, X.unsqueeze(1))),
        r"agent A: site 'x': the observations have shape \(4, 1\), .* batch shape \(4,\) .*; expected log densities "
        r"of shape \(4,\), as in plate 'objects' of size 4",
    ),
    "the length of observations": (
        lambda: game(ProgramPlayer(seen, X[:3])),
        r"agent A: site 'x': the observations have shape \(3,\)",
    ),
    "not a number": (
        lambda: game(ProgramPlayer(seen, torch.tensor([0.1, 0.2, torch.nan, 0.3]))),
        r"agent A: site 'x': observation \(2,\) is not a number; remove it, or use poutine.mask",
    ),
    "an array of NumPy": (
        lambda: game(ProgramPlayer(seen, X.numpy())),
        "agent A: .*site 'x'.*torch.as_tensor",
    ),
    "beyond the support": (
        lambda: game(ProgramPlayer(counted, torch.tensor([-1.0, 2.0, 3.0, 0.0]))),
        r"agent A: site 'x' \(the observations have shape .*\) has no log density.*: ValueError: ",
    ),
    "no observations": (
        lambda: game(silent),
        "agent A: the program has no observed site; pass the observations by obs=",
    ),
    "names of plates": (
        lambda: game(seen, ProgramPlayer(seen, plate="things")),
        "agent B: the sign 'w' is in plate 'things'; in agent A it is in plate 'objects'; give them one name",
    ),
    "more signs than parameters": (
        lambda: game(seen, ProgramPlayer(indexed, table=1)),
        r"agent B: the program fails .*\(test_mistakes.py, line \d+\): IndexError: ",
    ),
    "a Bernoulli sign as an index": (
        lambda: game(ProgramPlayer(indexed, prior=dist.Bernoulli(torch.tensor(0.5)))),
        r"agent A: the program fails after site 'w' of shape \(4,\) .*; use w.long\(\) as an index, or a Categorical",
    ),
    "one event": (
        lambda: game(event),
        r"agent A: the sign 'w' is one event of shape \(4,\), .* use a plate in",
    ),
    "several sites": (lambda: game(several), r"agent A: the program has no site 'w'; did you mean 'w_\*'\?"),
    "turn": (
        lambda: game(seen, turn="each"),
        r"turn is 'each'; expected turns.each\(plate\), turns.whole\(\), or a",
    ),
    "a list of players": (
        lambda: NamingGame([ProgramPlayer(seen)]),
        "players is of type list; expected agents by name",
    ),
    "a function as a player": (
        lambda: NamingGame({"A": seen}),
        r"agent A is of type function; expected ProgramPlayer\(program, observations\)",
    ),
    "a program that was called": (
        lambda: ProgramPlayer(seen(X)),
        r"program is of type NoneType; pass the function and then its arguments",
    ),
    "a kernel object": (
        lambda: game(ProgramPlayer(indexed, beliefs=NUTS(indexed))),
        r"agent A: beliefs is an object of NUTS; pass the class NUTS, or functools.partial\(NUTS, ...\)",
    ),
    "beliefs of None": (
        lambda: game(ProgramPlayer(indexed, beliefs=lambda signs, values: None)),
        "agent A: the beliefs function returns NoneType; expected a dictionary of tensors",
    ),
    "a beliefs function that fails": (
        lambda: game(ProgramPlayer(indexed, beliefs=lambda signs, values: signs["v"])),
        r"agent A: the beliefs function fails with two chains \(test_mistakes.py, line \d+\): KeyError: 'v'",
    ),
    "a nuisance site of all objects": (
        lambda: game(global_nuisance),
        r"agent A: discrete site 'u' is outside plate 'objects', so its sum couples the objects; pass",
    ),
    "no chains": (lambda: game(seen).play(0, 3), "chains is 0; expected 1 or more"),
    "no beliefs": (lambda: game(ProgramPlayer(seen, beliefs=NUTS)), "no continuous latent site; remove beliefs="),
    "shared parameter": (lambda: game(shared, shared), "agents A and B share the parameter 'spread'"),
    "nuisance": (lambda: ProgramPlayer(seen, nuisance="none"), "nuisance is 'none'; expected 'sum' or 'redraw'"),
    "prior": (lambda: game(seen, prior="twice"), "prior is 'twice'; expected 'once' or 'each'"),
    "no agents": (lambda: game(), "a game needs an agent or more"),
    "a block too large": (
        lambda: game(ProgramPlayer(seen, torch.zeros(9), N=9), turn=turns.whole()),
        r"a block of turns.whole\(\) has 19683 values; at most 4096",
    ),
    "stretch": (lambda: turns.stretch(0), "turns.stretch needs T of 1 or more; it is 0"),
    "start": (lambda: game(seen).play(2, 1, start={"v": X}), "start has 'v'; expected some of w"),
    "beliefs": (lambda: game(ProgramPlayer(with_unknown_prior, beliefs="nut"), prior="each"), "beliefs is 'nut'"),
    "shapes of beliefs": (
        lambda: game(ProgramPlayer(with_unknown_prior, beliefs=lambda signs, values: {"pi": PI}), prior="each"),
        r"returns 'pi' of shape \(3,\); expected \(2, 3\)",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name):
    make, message = MISTAKES[name]
    pyro.clear_param_store()
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_remedies_work():
    assert game(seen, OTHER, prior="each").play(2, 2)["w"].shape == (2, 2, 4)
    assert game(coupled, turn=turns.stretch(2)).play(2, 2)["w"].shape == (2, 2, 4)
    assert game(outside, turn=[turns.stretch(1), turns.whole()]).play(2, 2)["w"].shape == (2, 2, 4)
