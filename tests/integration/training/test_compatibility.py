"""Parts of agents: of the user's own from the command line, never from a file unasked; and data that they refuse."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mhng import cli, load_run
from mhng.experiment.comparison.grid import build_grid
from mhng.experiment.errors import UntrustedError, UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.settings.config import resolve
from mhng.experiment.training.agent_spec import find_parts
from mhng.experiment.training.prepare import load_objects
from tests.runs import SMALL_FLAGS

MINE = """
import pathlib
import pyro.distributions as dist
from mhng.models.likelihoods import Likelihood
pathlib.Path("was_imported").write_text("yes")
class Mine(Likelihood):
    def forward(self, output):
        return dist.Normal(output, 0.3).to_event(output.dim() - 1)
    def mean(self, output):
        return output
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("plug_")]:
        del sys.modules[name]
    assert str(tmp_path) not in sys.path


def module(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return name


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that is refused."""
    capsys.readouterr()
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def forget(name: str, folder: Path) -> None:
    del sys.modules[name]
    (folder / "was_imported").unlink()


def test_a_likelihood_typed_on_the_command_line_is_used_and_its_run_is_not_read_unasked(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module(here, "plug_mine", MINE)
    flags = ["train", *SMALL_FLAGS, "--likelihood", "plug_mine:Mine", "--run-dir", "run"]
    assert cli.main(flags) == 0
    summary = json.loads((here / "run" / run_folder.SUMMARY).read_text())
    assert np.isfinite(summary["agents"]["A"]["elbo"])
    before = {file: file.read_bytes() for file in (here / "run").rglob("*") if file.is_file()}

    reading: list[list[str]] = [
        ["diagnose", "run"], ["recall", "run"], ["corpus", "run"], ["report", "run"],
        ["name", "run", "--split", "rest"], ["train", "--resume", "run", "--rounds", "2"],
        ["train", "--config", "run/config.toml", "--run-dir", "other"],
    ]  # fmt: skip
    forget("plug_mine", here)
    for arguments in reading:
        said = refused(arguments, capsys)
        assert "likelihood is plug_mine:Mine" in said and "--trust-plugins" in said, arguments
    with pytest.raises(UntrustedError, match="plug_mine:Mine"):
        load_run("run")
    assert "plug_mine" not in sys.modules and not (here / "was_imported").exists()
    assert before == {file: file.read_bytes() for file in (here / "run").rglob("*") if file.is_file()}
    assert not (here / "other").exists()

    quick = [words for words in reading if words[0] in ("corpus", "name", "train")]
    for arguments in [["diagnose", "run", "--no-plots"], *quick]:
        assert cli.main([*arguments, "--trust-plugins"]) == 0, capsys.readouterr().err
    assert (here / "was_imported").exists()
    assert load_run("run", trust_plugins=True).recall(0, draws=1)["A"].mean.shape == (1, 8, 8)


@pytest.mark.parametrize("command", [["recall"], ["report"], ["corpus"], ["train", "--resume"]])
def test_settings_that_were_changed_behind_an_innocent_manifest_are_refused(
    command: list[str], digits_run: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module(here, "plug_mine", MINE)
    shutil.copytree(digits_run, here / "run")
    file = here / "run" / run_folder.CONFIG
    text = file.read_text(encoding="utf-8")
    for name, value in (("likelihood", "bernoulli"), ("guide", "diagonal"), ("mixture", "normal-wishart")):
        assert f'{name} = "{value}"' in text
        file.write_text(text.replace(f'{name} = "{value}"', f'{name} = "plug_mine:Mine"'), encoding="utf-8")
        assert f"{name} is plug_mine:Mine" in refused([*command, "run"], capsys)
    assert not (here / "was_imported").exists()


def test_a_grid_in_a_file_is_not_trusted_either(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module(here, "plug_mine", MINE)
    for table in ('[settings]\nlikelihood = "plug_mine:Mine"\n', '[variants.a]\nnetwork = "plug_mine:Mine"\n'):
        (here / "grid.toml").write_text(table)
        said = refused(["compare", "--config", "grid.toml", "--out", "out"], capsys)
        assert "plug_mine:Mine" in said and "--trust-plugins" in said
        assert len(build_grid(here / "grid.toml", trust_plugins=True).runs()) >= 5
    assert not (here / "was_imported").exists() and not (here / "out").exists()


@pytest.mark.slow
def test_a_grid_of_ones_own_runs_and_its_folder_is_not_trusted_either(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module(here, "plug_mine", MINE)
    words = ["--modes", "com", "--seeds", "0", "--", *SMALL_FLAGS, "--likelihood", "plug_mine:Mine"]
    assert cli.main(["compare", "--out", "out", *words]) == 0
    assert "plug_mine:Mine" in refused(["compare", "--out", "out"], capsys)
    assert cli.main(["compare", "--out", "out", "--trust-plugins"]) == 0


NETWORK = """
from mhng.models.networks import mlp
def small(shape, latent, guide):
    return mlp(shape, latent, guide, hidden=(16, 8))
"""
GUIDE = """
from mhng.models.guides import Diagonal
class Half(Diagonal):
    def forward(self, features):
        loc, scale = super().forward(features)
        return loc, scale / 2
"""
MIXTURE = """
from mhng.models.mixtures import NormalWishart
class Tight(NormalWishart):
    def __init__(self, latent, **options):
        super().__init__(latent, beta=3.0, **options)
"""


def test_networks_guides_and_mixtures_of_ones_own(here: Path) -> None:
    flags = ["train", *SMALL_FLAGS, "--run-dir", "run"]
    for family, text, name in (("network", NETWORK, "small"), ("guide", GUIDE, "Half"), ("mixture", MIXTURE, "Tight")):
        flags += [f"--{family}", f"{module(here, f'plug_{family}', text)}:{name}"]
    assert cli.main(flags) == 0
    run = load_run(here / "run", trust_plugins=True)
    agent = run.models["A"]
    assert agent.encoder.head.in_features == 8 and agent.mixture.beta == 3.0
    assert type(agent.encoder.head).__name__ == "Half"


OF_OLD = """
import numpy, torch
from mhng.models.mixtures import NormalWishart
class Mine(NormalWishart):
    def __init__(self, latent, **options):
        super().__init__(latent, **options)
        self.things, self.more = [torch.zeros(2), torch.ones(2)], numpy.zeros(3)
    def draw(self, generator, posterior):
        torch.randn(2, generator=generator)
        return super().draw(generator, posterior)
    def redraw(self, generator, features, signs, K, before):
        C, N = signs.shape
        return super().redraw(generator, features, signs, K, before)
"""


@pytest.mark.parametrize("mode", ["com", "variational"])
def test_a_mixture_of_ones_own_is_asked_for_one_agent_at_a_time(here: Path, mode: str) -> None:
    """In a graph too, where those of this program are asked for many; and where there is no network."""
    mixture = f"{module(here, 'plug_old', OF_OLD)}:Mine"
    objects = ["--dataset", "synthetic", "--likelihood", "identity", "--limit", "40", "--signs", "3"]
    game = ["--rounds", "0", "--sweeps", "3", "--burn-in", "1", "--starts", "1", "--chains", "1", "--mode", mode]
    graph = ["--agents", "4", "--meet", "ring", "--mixture", mixture, "--run-dir", "run"]
    assert cli.main(["train", *objects, *game, *graph]) == 0
    assert (here / "run" / "summary.json").exists()


@pytest.mark.parametrize(
    ("text", "attribute", "said"),
    [
        ("", "Mine", "module 'plug_wrong' has no 'Mine'"),
        ("Mine = 3", "Mine", "'Mine' is of type int; expected a class or a function"),
        ("class Mine: pass", "Mine", "'Mine' lacks forward, mean, encoder_input, has_network"),
        ("1 / 0", "Mine", "module 'plug_wrong' cannot be imported: ZeroDivisionError: division by zero"),
        ("def (", "Mine", "cannot be imported: SyntaxError"),
        ("import sys; sys.exit(5)", "Mine", "cannot be imported: SystemExit: 5"),
        ("import plug_absent_too", "Mine", "cannot be imported: ModuleNotFoundError: No module named"),
        (MINE.replace("def mean", "def other"), "Mine", "does not define mean"),
        (
            MINE.replace("Likelihood):", "Likelihood):\n    has_network = False"),
            "Mine",
            "identity",
        ),
        (
            MINE.replace("Likelihood):", 'Likelihood):\n    options = ("lr",)'),
            "Mine",
            "options is 'lr'",
        ),
        (MINE.replace("0.3)", "0.3, 1, 2)"), "Mine", "rehearsal with two objects failed: TypeError"),
        (MINE.replace("0.3)", "float('nan'))"), "Mine", "rehearsal with two objects failed: ValueError"),
        (MINE.replace("return output\n", "return output.sum(0)\n"), "Mine", "have the shapes"),
        (MINE.replace("dim() - 1)", "dim())"), "Mine", "p(x | z) has batch shape () and event shape (2, "),
        (MINE.replace("dim() - 1)", "dim() - 2)"), "Mine", "; expected (2,) and ("),
        (MINE.replace("Normal(output,", "Normal(output - output.mean(0),"), "Mine", "for each object alone"),
        (MINE.replace("Normal(output,", "Normal(output.mean(0, True) + 0 * output,"), "Mine", "for each object alone"),
    ],
)
def test_what_is_wrong_with_ones_own_is_one_line_and_nothing_is_written(
    text: str, attribute: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module(here, "plug_wrong", text)
    found = refused(["train", *SMALL_FLAGS, "--likelihood", f"plug_wrong:{attribute}", "--run-dir", "run"], capsys)
    assert f"--likelihood plug_wrong:{attribute}" in found and said in found
    assert not (here / "run").exists()


def test_a_guide_that_swallows_the_batch_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        GUIDE
        + """
    @staticmethod
    def distribution(loc, spread):
        import pyro.distributions as dist
        return dist.Normal(loc, spread).to_event(2)
"""
    )
    module(here, "plug_guide", text)
    found = refused(["train", *SMALL_FLAGS, "--guide", "plug_guide:Half", "--run-dir", "run"], capsys)
    assert "q(z | x) has batch shape () and event shape (2, " in found and not (here / "run").exists()


def test_a_module_that_is_not_there_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, absent in (("plug_absent:A", "plug_absent"), ("plug_pack.sub:A", "plug_pack"), ("json.no:A", "json.no")):
        said = refused(["train", *SMALL_FLAGS, "--network", name, "--run-dir", "run"], capsys)
        assert f"--network {name}: there is no module '{absent}'" in said


def test_models_lists_every_variant_with_its_formula_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    from mhng.models.registry import FAMILIES, WEIGHTS

    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out
    for family, variants in {**FAMILIES, "weights": WEIGHTS}.items():
        assert f"\n--{family}: " in "\n" + out
        for name, variant in variants.items():
            assert variant.symbol and variant.source, name
            place = out.index(f"\n  {name} ")
            assert place < out.index(variant.symbol, place) < out.index(variant.source, place), name
    assert all(len(line) <= 119 for line in out.splitlines())


# -- data --------------------------------------------------------------------------------------------


def counts(folder: Path, array: Any) -> dict[str, str]:
    np.savez(folder / "counts.npz", features=np.asarray(array))
    return {"dataset": "npz", "data": str(folder / "counts.npz"), "likelihood": "multinomial"}


def test_counts_are_neither_standardised_nor_moved(tmp_path: Path) -> None:
    array = np.random.default_rng(0).poisson(3.0, (12, 5))
    objects, _, config, _ = load_objects(resolve(counts(tmp_path, array)))
    assert torch.equal(objects.views[0], torch.from_numpy(array).float()) and config.jitter == 0


@pytest.mark.parametrize(
    ("value", "told"),
    [(-1, "-1"), (2.5, "2.5"), (2.0**24 + 2, "16777216; object 3, column 1 of agent A in npz is 16777218")],
)
def test_what_is_no_count_is_named_by_its_place(value: float, told: str, tmp_path: Path) -> None:
    array = np.full((12, 5), 2.0)
    array[3, 1] = value
    with pytest.raises(
        UsageError, match=r"--likelihood multinomial requires counts.*object 3, column 1 of agent A in npz is"
    ) as e:
        load_objects(resolve(counts(tmp_path, array)))
    assert told in str(e.value)


# -- angles and simplex rows ---------------------------------------------------------------------------

VON_MISES = "your_own_mixture:VonMises"
ON_SIMPLEX = """
from mhng.models.mixtures import NormalWishart
class Simplex(NormalWishart):
    input_support = "{support}"
"""


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(Path(__file__).resolve().parents[3] / "examples")
    yield
    sys.modules.pop("your_own_mixture", None)


def angles(folder: Path, seed: int = 0) -> tuple[Path, dict[str, Any]]:
    """Four kinds of objects; three kinds lie across the cut at pi."""
    rng = np.random.default_rng(seed)
    centres = np.array([[np.pi, 0.2], [np.pi - 0.1, np.pi], [0.3, 0.05 - np.pi], [0.2, 0.1]])
    kind = rng.integers(4, size=160)
    views = {f"view_{m}": centres[kind] + rng.vonmises(0, 60, (160, 2)) for m in "AB"}
    views = {name: np.arctan2(np.sin(view), np.cos(view)) for name, view in views.items()}
    np.savez(folder / "angles.npz", labels=kind, **views)
    settings = {"dataset": "npz", "data": str(folder / "angles.npz"), "likelihood": "identity"}
    return folder / "angles.npz", settings | {"mixture": VON_MISES, "prior": "concentration=20"}


@pytest.mark.parametrize("shift", [0.0, 2 * np.pi])
@pytest.mark.usefixtures("examples")
def test_angles_reach_a_mixture_of_ones_own_as_they_are(shift: float, tmp_path: Path) -> None:
    """Case L8: standardised angles gave an ARI of 0.2."""
    file, settings = angles(tmp_path)
    arrays = dict(np.load(file).items())
    arrays |= {name: array % shift for name, array in arrays.items() if shift and name != "labels"}
    np.savez(file, **arrays)
    objects, *_ = load_objects(resolve(settings | {"reduce": "1"}))
    np.testing.assert_array_equal(objects.views[1], arrays["view_B"].astype(np.float32))
    game = ["--signs", "4", "--rounds", "0", "--sweeps", "15", "--burn-in", "5", "--starts", "4"]
    flags = [f"--{name}={value}" for name, value in settings.items()]
    assert cli.main(["train", *flags, *game, "--run-dir", str(tmp_path / "run")]) == 0
    scores = load_run(tmp_path / "run", trust_plugins=True).scores
    assert [scores["agents"][name]["ari"] for name in "AB"] == [1.0, 1.0] and scores["kappa"] == 1.0


@pytest.mark.parametrize(("value", "others"), [(45.0, 0.1), (3.3, -0.1), (-3.2, 0.1), (6.4, 0.1)])
@pytest.mark.usefixtures("examples")
def test_an_angle_outside_its_interval_is_named(value: float, others: float, tmp_path: Path) -> None:
    file, settings = angles(tmp_path)
    wrong = np.full((12, 2), others)
    wrong[3, 1] = value
    np.savez(file, view_A=np.zeros((12, 2)), view_B=wrong)
    told = (
        r"requires angles that all lie in \[-pi, pi\] or all in \[0, 2 pi\); object 3, column 1 of agent B in npz is"
    )
    with pytest.raises(UsageError, match=rf"--mixture {VON_MISES} {told} {value:g}$"):
        load_objects(resolve(settings))
    with pytest.raises(UsageError, match=r"for observed angles, requires --likelihood identity; .* is gaussian"):
        load_objects(resolve(settings | {"likelihood": "gaussian"}))


@pytest.mark.parametrize(
    ("row", "told"),
    [([0.5, 0.5], ""), ([0.7, 0.4], r"object 3 of agent A in npz sums to 1\.1"), ([1.1, -0.1], "object 3, column 1")],
)
def test_simplex_rows_are_checked_and_kept(row: list[float], told: str, tmp_path: Path, here: Path) -> None:
    array = np.full((12, 2), [0.3, 0.7])
    array[3] = row
    name = f"{module(here, 'plug_simplex', ON_SIMPLEX.format(support='simplex'))}:Simplex"
    settings = counts(tmp_path, array) | {"likelihood": "identity", "mixture": name}
    if told:
        with pytest.raises(UsageError, match=rf"--mixture {name} requires non-negative features .*; {told}"):
            load_objects(resolve(settings))
    else:
        np.testing.assert_array_equal(load_objects(resolve(settings))[0].views[0], array.astype(np.float32))


def test_an_unknown_support_is_refused(tmp_path: Path, here: Path) -> None:
    name = f"{module(here, 'plug_unknown', ON_SIMPLEX.format(support='degrees'))}:Simplex"
    settings = counts(tmp_path, np.ones((12, 2))) | {"likelihood": "identity", "mixture": name}
    with pytest.raises(UsageError, match="input_support is 'degrees'; expected one of real, counts, angles, simplex"):
        load_objects(resolve(settings))


def test_images_are_no_counts_and_features_no_pixels(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--likelihood multinomial requires counts.*digits are images"):
        load_objects(resolve({"dataset": "digits", "likelihood": "multinomial"}))
    for name in ("bernoulli", "continuous-bernoulli"):
        with pytest.raises(UsageError, match=rf"--likelihood {name} requires pixels in \[0, 1\].*synthetic"):
            load_objects(resolve({"dataset": "synthetic", "likelihood": name}))


def test_agents_that_count_words_agree_on_topics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    topics = np.array([[8, 1, 1, 1], [1, 8, 1, 1], [1, 1, 5, 5]]) / np.array([[11], [11], [12]])
    kind = rng.integers(3, size=150)
    views = {
        f"view_{name}": np.stack([rng.multinomial(rng.integers(30, 200), topics[k]) for k in kind]) for name in "AB"
    }
    np.savez(tmp_path / "words.npz", labels=kind, **views)
    code = cli.main([
        "train", "--dataset", "npz", "--data", str(tmp_path / "words.npz"), "--likelihood", "multinomial",
        "--signs", "3", "--latent-dim", "2", "--epochs", "40", "--batch-size", "25", "--rounds", "0", "--starts", "2",
        "--sweeps", "8", "--burn-in", "2", "--run-dir", str(tmp_path / "run"),
    ])  # fmt: skip
    assert code == 0
    scores = load_run(tmp_path / "run").scores
    assert min(scores["agents"][name]["ari"] for name in "AB") > 0.8 and scores["kappa"] > 0.8
    shares = load_run(tmp_path / "run").recall(0, draws=0)["A"].mean
    assert shares.sum() == pytest.approx(1, abs=1e-5)


# -- a mixture of one's own ------------------------------------------------------------------------------

BOXES = """
import pyro.distributions as dist
from mhng.models.mixtures import Conjugate, ExponentialFamily
class Boxes(ExponentialFamily):
    def component(self, theta):
        return dist.Bernoulli(theta)
    def parameter_posterior(self, number, total):
        return dist.Beta(1 + total, 1 + number - total)
    def log_likelihood(self, number, total, theta):
        return (total * theta.log() + (number - total) * (1 - theta).log()).sum(-1)
class Half(ExponentialFamily):
    def component(self, theta):
        return dist.Bernoulli(theta)
class Little(Conjugate):
    Parameters = tuple
class Bare(Boxes):
    def __init__(self):
        pass
class Unready(Boxes):
    def __init__(self, latent, a=1.0):
        self.a = a
class Unsummed(Boxes):
    def log_likelihood(self, number, total, theta):
        return total * theta.log()
class Crashing(Boxes):
    def component(self, theta):
        return dist.Bernoulli(theta[..., 100])
"""


def boxes(folder: Path, name: str) -> list[str]:
    """Flags of a run of binary features, two kinds, with a mixture of the module above."""
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=60)
    views = {f"view_{m}": (rng.random((60, 8)) < np.where(kind, 0.85, 0.15)[:, None]).astype(float) for m in "AB"}
    np.savez(folder / "boxes.npz", labels=kind, **views)
    return [
        "train", "--dataset", "npz", "--data", "boxes.npz", "--likelihood", "identity", "--signs", "2",
        "--rounds", "0", "--sweeps", "10", "--run-dir", "run",
        "--mixture", f"{module(folder, 'plug_boxes', BOXES)}:{name}",
    ]  # fmt: skip


def test_three_methods_are_a_mixture_and_binary_features_stay_as_they_are(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(boxes(here, "Boxes")) == 0
    run = load_run("run", trust_plugins=True)
    assert [run.scores["agents"][name]["ari"] for name in "AB"] == [1.0, 1.0]
    assert set(run.objects.views[0].unique().tolist()) == {0, 1}
    told = "note: agent A: all features are 0 or 1, so they are not standardised; --standardise yes does it"
    assert told in capsys.readouterr().err.splitlines()
    assert run.recall(0)["A"].mean.shape == (8,) and run.components("A")[1].shape == (2, 8, 8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Half", "--mixture plug_boxes:Half does not define log_likelihood, parameter_posterior"),
        ("Little", "--mixture plug_boxes:Little does not define component_distribution, covariance, draw, "),
        (
            "Bare",
            "cannot be made with (latent): TypeError: Bare.__init__() takes 1 positional argument but 2 were given",
        ),
        ("Unready", "AttributeError: 'Unready' object has no attribute 'latent'"),
        ("Unsummed", "log_likelihood returns the shape (1, 8); expected (1,)"),
        (
            "Crashing",
            "IndexError: index 100 is out of bounds for dimension 1 with size 8 (plug_boxes.py, line 27, component)",
        ),
    ],
)
def test_a_mistake_in_a_mixture_is_one_line(
    name: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert cli.main(boxes(here, name)) == 2
    line = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(line) == 1 and message in line[0]
    assert not (here / "run").exists()


def test_a_mixture_that_fails_in_the_game_is_not_cured_by_a_smaller_step(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*boxes(here, "Boxes"), "--standardise", "yes"]) != 0
    err = capsys.readouterr().err
    assert "--lr" not in err


@pytest.mark.parametrize("standardise", ["yes", "no", None])
def test_standardise_decides_what_the_agents_see(standardise: str | None, here: Path) -> None:
    rng = np.random.default_rng(0)
    real, binary = rng.normal(5, 3, (40, 3)), rng.integers(2, size=(40, 3)).astype(float)
    np.savez(here / "x.npz", view_A=real, view_B=binary)
    flags = {"dataset": "npz", "data": "x.npz", "likelihood": "identity", "signs": "4"}
    prepared = load_objects(resolve(flags | ({} if standardise is None else {"standardise": standardise})))
    a, b = (view.double().numpy() for view in prepared.objects.views)
    for seen, given, scaled in ((a, real, standardise != "no"), (b, binary, standardise == "yes")):
        wanted = (given - given.mean(0)) / given.std(0) if scaled else given
        np.testing.assert_allclose(seen, wanted, atol=1e-5)
    W = [spec.prior["W"] for spec in prepared.agents]
    wanted_W = 4 ** (2 / 3)  # 3 K^(2/L) / nu over the mean variance
    variances = [1 if standardise != "no" else real.var(0).mean(), 1 if standardise == "yes" else binary.var(0).mean()]
    np.testing.assert_allclose(W, [wanted_W / variance for variance in variances], rtol=1e-5)


def test_agents_of_one_view_may_keep_its_values_or_not(here: Path) -> None:
    np.savez(here / "x.npz", features=np.random.default_rng(0).uniform(-3, 3, (40, 3)))
    flags = {"dataset": "npz", "data": "x.npz", "likelihood": "identity", "agent": [f"B: --mixture {VON_MISES}"]}
    shutil.copy(Path(__file__).resolve().parents[3] / "examples" / "your_own_mixture.py", here)
    try:
        views = load_objects(resolve(flags)).objects.views
    finally:
        sys.modules.pop("your_own_mixture", None)
    np.testing.assert_allclose(views[0].std(0, correction=0), np.ones(3), atol=1e-5)
    assert 1.5 < float(views[1].std()) < 2


def test_binary_features_are_pixels_enough(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.savez(here / "x.npz", features=rng.integers(2, size=(30, 6)).astype(float))
    np.savez(here / "y.npz", features=rng.random((30, 6)))
    np.savez(here / "z.npz", features=rng.normal(size=(30, 6)))
    small = "--latent-dim 2 --epochs 1 --rounds 0 --sweeps 9 --starts 1 --signs 2 --likelihood bernoulli --dataset npz"
    assert cli.main(["train", *small.split(), "--data", "x.npz", "--run-dir", "x"]) == 0
    for data, more, told in (
        ("x.npz", ["--standardise", "yes"], "standardised features; pass --standardise no, or --likelihood gaussian"),
        ("y.npz", [], "standardised features; pass --standardise no, or --likelihood gaussian"),
        ("z.npz", ["--standardise", "no"], "features outside; pass --likelihood gaussian or identity"),
    ):
        assert told in refused(["train", *small.split(), "--data", data, "--run-dir", "y", *more], capsys)


# -- every variant plays -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"likelihood": "continuous-bernoulli"},
        {"likelihood": "gaussian-fixed", "noise": "0.37"},
        {"network": "resnet", "guide": "full"},
        {"guide": "full", "likelihood": "gaussian"},
        {"percept": "mean"},
    ],
)
def test_every_variant_plays_and_is_loaded_again(changes: dict[str, str], tmp_path: Path) -> None:
    flags = [f"--{name}={value}" for name, value in changes.items()]
    assert cli.main(["train", *SMALL_FLAGS, *flags, "--run-dir", str(tmp_path / "run")]) == 0
    run = load_run(tmp_path / "run")
    assert np.isfinite(run.scores["agents"]["B"]["elbo"]) and run.latents("B").shape == (60, 2)
    assert run.recall(0, draws=2)["A"].draws.shape == (2, 1, 8, 8)
    if "noise" in changes:
        assert run.models["A"].likelihood.noise == pytest.approx(0.37)


def test_the_parts_of_the_defaults_are_those_of_the_registry() -> None:
    from mhng.models.guides import Diagonal
    from mhng.models.likelihoods import Bernoulli

    found = find_parts(resolve({"likelihood": "bernoulli"}))
    assert found.likelihood is Bernoulli and found.guide is Diagonal
