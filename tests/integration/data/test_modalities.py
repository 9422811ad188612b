"""Agents of several modalities through the settings, the data and whole runs; a line for all that is unfit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mhng import cli, load_run
from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.loading import load
from mhng.experiment.data.modalities import drop_modalities, is_present
from mhng.experiment.data.objects import Objects
from mhng.experiment.data.views import apply_views, parse_views
from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.settings.config import changes, plain, resolve, to_flags, to_toml
from mhng.experiment.settings.parsing import read_settings
from mhng.experiment.training.build import build_members
from mhng.experiment.training.console import Printer, Silent
from mhng.experiment.training.prepare import load_objects, pick_device
from mhng.experiment.training.train import resume
from mhng.experiment.util.jsonable import to_plain
from mhng.models.multimodal import Multimodal
from tests.checks import ALPHA, z_test
from tests.custom_data import QUICK, image, npz, refused, table, text
from tests.runs import contents, made

RNG = np.random.default_rng(0)
ONE, TWO, THREE = RNG.normal(size=(12, 4)), RNG.normal(size=(12, 3)), RNG.normal(size=(12, 5))


def digits(views: str, **changes: str) -> Objects:
    return load_objects(resolve({"dataset": "digits", "limit": "60", "views": views} | changes))[0]


# -- settings ----------------------------------------------------------------------------------------


def test_entries_are_joined_and_saved_as_they_were_typed(tmp_path: Path) -> None:
    assert [view.text for view in parse_views(" 0 & 90+blur:1 ,45")] == ["0&90+blur:1", 45.0]
    config = resolve({"views": "0&90,45,10&20&30", "agents": "3", "missing": "0.25", "fusion": "mixture"})
    file = tmp_path / "run.toml"
    file.write_text(to_toml(config))
    assert plain(resolve({}, file)) == plain(config) == plain(resolve(read_settings(to_flags(config))))
    file.write_text('views = ["0&90", 45]\n[agents.A]\nfusion = "mixture"\n[agents]\ncount = 2\n')
    config = resolve({}, file)
    assert plain(config)["views"] == ("0&90", 45.0) and config.per_agent["A"].fusion == "mixture"


def test_files_are_joined_and_a_name_may_have_the_sign_itself(tmp_path: Path) -> None:
    for name in ("a1.csv", "a2.csv", "R&D.csv"):
        text(tmp_path, table(ONE), name)
    typed = f"{tmp_path}/a1.csv&{tmp_path}/a2.csv,{tmp_path}/R&D.csv"
    config = resolve({"dataset": "csv", "data": typed, "likelihood": "gaussian"})
    assert config.data == ((tmp_path / "a1.csv", tmp_path / "a2.csv"), tmp_path / "R&D.csv")
    assert (
        config.agents == 2 and plain(config)["views"] == (0.0, 0.0) and custom_dataset.as_typed(config.data) == typed
    )
    file = tmp_path / "run.toml"
    file.write_text(to_toml(config))
    again = resolve({}, file)
    assert again.data == config.data and plain(again) == plain(config)
    assert plain(resolve(read_settings(to_flags(config)))) == plain(config)
    assert not changes(config, to_plain(plain(config)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--views", "0&,45"], ["--views", "entry 1 is '0&'", "modality 2 is empty"]),
        (["--views", "45,&0"], ["--views", "entry 2 is '&0'", "modality 1 is empty"]),
        (["--views", "0&patches:2,45"], ["--views", "'patches:2'"]),
        (["--views", "0&90"], ["--views has 1 entries", "one for each agent, 2"]),
        (["--missing", "0.3"], ["--missing 0.3 requires an agent with several modalities"]),
        (["--fusion", "mixture"], ["--fusion mixture requires an agent with several modalities"]),
        (
            ["--agent", "B: --fusion mixture", "--views", "0&90,45"],
            ["--agent 'B'", "--fusion requires several modalities", "has one"],
        ),
        (["--missing", "1", "--views", "0&90,45"], ["--missing is 1.0; expected less than 1", "1.0"]),
        (["--missing", "-0.1", "--views", "0&90,45"], ["--missing is -0.1; expected 0 or more"]),
        (["--missing", "nan", "--views", "0&90,45"], ["--missing is nan; expected a finite number"]),
        (["--fusion", "sum", "--views", "0&90,45"], ["--fusion is 'sum'; expected one of product, mixture"]),
        (
            ["--views", "0&90,45", "--dataset", "synthetic", "--likelihood", "identity"],
            ["--likelihood identity does not support several modalities; agent A has 2"],
        ),
        (
            ["--dataset", "csv", "--data", "a.csv&,b.csv", "--likelihood", "gaussian"],
            ["--data", "modality 2 of entry 1 is empty", "'a.csv&'"],
        ),
    ],
    ids=str,
)
def test_what_is_unfit_is_refused_in_one_line(
    arguments: list[str], said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["train", "--dataset", "digits", "--limit", "30", *arguments, *QUICK], tmp_path, said, capsys)


def test_a_guide_of_ones_own_has_no_product(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_guide.py").write_text(
        "import pyro.distributions as dist\nfrom torch import nn\n"
        "class Laplace(nn.Linear):\n"
        "    def __init__(self, width, latent): super().__init__(width, 2 * latent)\n"
        "    def forward(self, x): loc, s = super().forward(x).chunk(2, -1); return loc, s.exp()\n"
        "    @staticmethod\n"
        "    def distribution(loc, spread): return dist.Laplace(loc, spread).to_event(1)\n"
        "    @staticmethod\n"
        "    def reparameterize(loc, spread, noise): return loc + spread * noise\n"
    )
    monkeypatch.chdir(tmp_path)
    own_guide = ["train", "--dataset", "digits", "--limit", "40", "--guide", "my_guide:Laplace", *QUICK]
    refused([*own_guide, "--views", "0&90,45"], tmp_path, ["--fusion product", "Gaussian guide"], capsys)
    assert cli.main([*own_guide, "--views", "0&90,45", "--fusion", "mixture", "--run-dir", str(tmp_path / "run")]) == 0


# -- what they see -----------------------------------------------------------------------------------


def test_views_lie_side_by_side_and_an_agent_with_one_sees_what_it_always_saw() -> None:
    alone, both = digits("0,45"), digits("0&90&noise:0.1,45")
    first, second, third = both.views[0].view(60, 3, 1, 8, 8).unbind(1)
    assert torch.equal(first, alone.views[0]) and torch.equal(both.views[1], alone.views[1])
    assert torch.equal(second, apply_views(alone.views[0], (90.0,), names="A", seed=0)[0])
    assert not torch.equal(third, apply_views(alone.views[0], ("noise:0.1",), names="A", seed=0)[0]), (
        "noise of its own"
    )
    assert [sense.title for sense in both.modalities[0]] == ["0", "90", "noise:0.1"] and both.shapes(1) == ((1, 8, 8),)
    assert both.checksum != alone.checksum and not both.views[0].isnan().any()


def test_each_modality_is_missing_by_chance_and_never_all() -> None:
    share, N = 0.4, 20_000
    views = [torch.zeros(N, 2), torch.zeros(N, 1, 2, 2), torch.zeros(N, 1)]
    a, b, c = drop_modalities(views, [2, 1], "AB", share, seed=0)
    assert c is views[2] and torch.equal(a.isnan(), (~is_present(a)).unsqueeze(1).expand(-1, 2))
    lost = torch.stack([~is_present(a), ~is_present(b)], dim=1)
    assert not lost.all(1).any()
    # Each is lost by chance, but for half of the times that both were.
    expected = share - share**2 / 2
    assert z_test(lost.double().numpy(), np.full(2, expected)) > ALPHA
    assert z_test(lost.double().numpy(), np.full(2, share)) < ALPHA
    few = drop_modalities([view[:50] for view in views], [2, 1], "AB", share, seed=0)
    assert torch.equal(few[0].isnan(), a[:50].isnan()), "whatever other objects there are"
    assert not torch.equal(drop_modalities(views, [2, 1], "AB", share, seed=1)[0].isnan(), a.isnan())
    assert drop_modalities(views, [2, 1], "AB", 0.0, seed=0) == tuple(views)


def test_what_is_missing_already_counts_for_what_must_stay() -> None:
    views = [torch.zeros(500, 1), torch.zeros(500, 1)]
    views[0][::2] = torch.nan
    a, b = drop_modalities(views, [2], "A", 0.9, seed=0)
    assert is_present(b)[::2].all() and not is_present(a)[::2].any()
    assert (~is_present(b))[1::2].any() and (is_present(a) | is_present(b)).all()
    views[1][4] = torch.nan
    with pytest.raises(UsageError, match="object 4 has none of the 2 modalities of agent A"):
        drop_modalities(views, [2], "A", 0.0, seed=0)
    with pytest.raises(UsageError, match="no object has modality 1 of agent A"):
        drop_modalities([torch.full((5, 2), torch.nan), torch.zeros(5, 1)], [2], "A", 0.0, seed=0)


def test_missing_is_told_and_is_part_of_the_checksum(capsys: pytest.CaptureFixture[str]) -> None:
    whole, lacking = digits("0&90,45"), digits("0&90,45", missing="0.3")
    first, second = lacking.modalities[0]
    assert 5 < first.missing < 30 and 5 < second.missing < 30 and lacking.modalities[1][0].missing == 0
    there = ~lacking.views[0].isnan()
    assert torch.equal(lacking.views[0][there], whole.views[0][there]) and lacking.checksum != whole.checksum
    assert int((~there).view(60, 2, 64).all(2)[:, 0].sum()) == first.missing
    Printer().objects(lacking, (0.0, 45.0), 10)
    out = capsys.readouterr().out
    assert f"Views: A 0 (1x8x8, {first.missing} of 60 missing) & 90 (1x8x8" in out and "; B 45 (1x8x8)" in out


def test_synthetic_modalities_confuse_pairs_of_their_own() -> None:
    options = {"dataset": "synthetic", "likelihood": "gaussian", "limit": "50"}
    both = load_objects(resolve(options | {"views": "0&0,0"}))[0]
    three = load_objects(resolve(options | {"agents": "3"}))[0]
    assert torch.equal(both.views[0], torch.cat(three.views[:2], dim=1)) and torch.equal(both.views[1], three.views[2])
    assert [sense.title for sense in both.modalities[0]] == ["features 1", "features 2"]


def csvs(folder: Path, *, gap: str = ",,,") -> str:
    rows = table(ONE).splitlines()
    rows[3], rows[7] = gap, "nan,NaN,,nan"
    text(folder, "\n".join(rows) + "\n", "a1.csv")
    text(folder, table(TWO), "a2.csv")
    text(folder, table(THREE), "b.csv")
    return f"{folder}/a1.csv&{folder}/a2.csv,{folder}/b.csv"


def test_features_are_standardised_and_reduced_by_what_is_there(tmp_path: Path) -> None:
    options = {"dataset": "csv", "data": csvs(tmp_path), "likelihood": "gaussian"}
    objects, _, config, _ = load_objects(resolve(options))
    first, second = objects.views[0].split([4, 3], dim=1)
    there = np.delete(np.arange(12), [3, 7])
    assert is_present(first).nonzero().flatten().tolist() == there.tolist() and config.jitter == 0
    expected = (ONE[there] - ONE[there].mean(0)) / ONE[there].std(0)
    np.testing.assert_allclose(first[there].numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(second.numpy(), (TWO - TWO.mean(0)) / TWO.std(0), atol=1e-4)
    assert objects.paired and [sense[1:] for sense in objects.modalities[0]] == [((4,), 2), ((3,), 0)]
    few, *_ = load_objects(resolve(options | {"reduce": "2"}))
    assert few.shapes(0) == ((2,), (2,)) and few.views[0][[3, 7], :2].isnan().all()
    np.testing.assert_allclose(few.views[0][there, :2].numpy().std(0, ddof=1), 1, atol=1e-4)
    both, *_ = load_objects(resolve(options | {"data": options["data"].split(",")[0], "agents": "3"}))
    assert len(both.views) == 3 and all(torch.equal(view.nan_to_num(9), first_.nan_to_num(9)) for view, first_ in
                                        zip(both.views, [objects.views[0]] * 3, strict=True))  # fmt: skip


def test_an_npz_for_each_modality(tmp_path: Path) -> None:
    pictures = RNG.random((12, 5, 4))
    pictures[2] = np.nan
    features = TWO.copy()
    features[5] = np.nan
    names = {}
    for name, arrays in (
        ("a1", {"images": pictures, "labels": np.arange(12) % 3}), ("a2", {"features": features}),
        ("b", {"images": RNG.integers(0, 256, (12, 5, 4), dtype=np.uint8), "labels": np.arange(12) % 3}),
    ):  # fmt: skip
        names[name] = npz(tmp_path, **arrays).rename(tmp_path / f"{name}.npz")
    objects = load(
        "npz", data_root=None, download=False, limit=None, views=(0.0, 90.0), seed=0,
        files=custom_dataset.Files(((names["a1"], names["a2"]), names["b"])),
    ).packed()  # fmt: skip
    assert objects.shapes(0) == ((1, 5, 4), (3,)) and objects.labels is not None
    assert objects.views[0][2, :20].isnan().all() and objects.views[0][5, 20:].isnan().all()
    assert int(objects.views[0].isnan().sum()) == 20 + 3
    np.testing.assert_allclose(objects.views[0][3, :20].numpy(), pictures[3].ravel().astype(np.float32))


def test_the_first_object_of_a_table_may_be_missing(tmp_path: Path) -> None:
    text(tmp_path, ",,\n" + table(TWO[1:]), "a1.csv")
    text(tmp_path, table(ONE), "a2.csv")
    options = {"dataset": "csv", "data": f"{tmp_path}/a1.csv&{tmp_path}/a2.csv", "likelihood": "gaussian"}
    objects, *_ = load_objects(resolve(options))
    assert objects.count == 12 and (~is_present(objects.views[0][:, :3])).nonzero().tolist() == [[0]]


def folders(root: Path) -> str:
    for n in range(8):
        for part in ("a1", "a2", "b"):
            if (part, n) not in (("a1", 2), ("a2", 5)):
                image(root / part / f"{'even' if n % 2 else 'odd'}" / f"{n}.png", 20 * n + 5)
    return f"{root}/a1&{root}/a2,{root}/b"


def test_a_file_may_be_missing_in_one_of_an_agents_folders(tmp_path: Path) -> None:
    settings = resolve({"dataset": "folder", "data": folders(tmp_path), "image_size": "6", "views": "0,90"})
    objects, *_ = load_objects(settings)
    assert objects.count == 8 and objects.files is not None and objects.categories == 2
    first, second = objects.views[0].split(36, dim=1)
    assert [objects.files[int(n)] for n in (~is_present(first)).nonzero()] == ["odd/2.png"]
    assert [objects.files[int(n)] for n in (~is_present(second)).nonzero()] == ["even/5.png"]
    assert not objects.views[1].isnan().any()
    turned, *_ = load_objects(resolve({
        "dataset": "folder", "data": folders(tmp_path), "image_size": "6", "views": "0&invert,0",
    }))  # fmt: skip
    there = is_present(second)
    torch.testing.assert_close(turned.views[0][there, 36:], 1 - second[there])
    assert torch.equal(is_present(turned.views[0][:, 36:]), there)


UNFIT: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "part of a row": (lambda f: text(f, table(ONE).replace(table(ONE).split(",")[0], "nan", 1), "a1.csv"),
                      ["a1.csv", "line 1: column 1", "finite"]),
    "an agent alone": (lambda f: text(f, table(THREE[:11]) + ",,,,\n", "b.csv"), ["a1.csv has 12 rows", "b.csv 11"]),
    "nan of an agent alone": (lambda f: text(f, table(THREE[:11]) + "nan,nan,nan,nan,nan\n", "b.csv"),
                              ["b.csv", "line 12: column 1", "finite"]),
    "nothing of an object": (lambda f: text(f, table(TWO[:3]) + "nan,nan,nan\n" + table(TWO[4:]), "a2.csv"),
                             ["object 3 has none of the 2 modalities of agent A"]),
    "a shorter file": (lambda f: text(f, table(TWO[:5]), "a2.csv"), ["a2.csv 5"]),
}  # fmt: skip


@pytest.mark.parametrize("fault", UNFIT)
def test_unfit_files_are_refused(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = csvs(tmp_path)
    spoil, said = UNFIT[fault]
    spoil(tmp_path)
    refused(["train", "--dataset", "csv", "--data", data, "--likelihood", "gaussian", *QUICK], tmp_path, said, capsys)


def test_unfit_npz_folders_and_views_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = folders(tmp_path)
    (tmp_path / "a1" / "even" / "5.png").unlink()
    run = ["train", "--dataset", "folder", "--data", data, "--image-size", "6", *QUICK]
    refused(run, tmp_path, ["even/5.png", "is not in", "a1&"], capsys)
    joined = ["train", "--dataset", "npz", "--likelihood", "gaussian", *QUICK, "--data"]
    one = npz(tmp_path, view_A=ONE, view_B=TWO).rename(tmp_path / "two.npz")
    other = npz(tmp_path, features=ONE[:5]).rename(tmp_path / "short.npz")
    part = ONE.copy()
    part[4, 1] = np.nan
    third = npz(tmp_path, features=part).rename(tmp_path / "part.npz")
    refused([*joined, f"{one}&{other},{other}"], tmp_path, ["two.npz", "several agents"], capsys)
    refused([*joined, f"{third}&{third},{other}"], tmp_path, ["part.npz", "[4, 1] is nan"], capsys)
    whole = npz(tmp_path, features=ONE).rename(tmp_path / "whole.npz")
    refused([*joined, f"{whole}&{other},{whole}"], tmp_path, ["whole.npz has 12", "short.npz 5"], capsys)
    views = [*joined, f"{whole}&{whole},{whole}", "--views"]
    refused([*views, "0&0&0,0"], tmp_path, ["--views has 3 modalities for agent A", "--data has 2"], capsys)
    refused([*views, "0&90,0"], tmp_path, ["90 of agent A/2 requires images"], capsys)


# -- whole runs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images: A sees them upright and turned, B by 45 degrees; some are missing."""
    return made(tmp_path_factory.mktemp("pair") / "run", views="0&90,45", missing="0.3", chains="2")


def test_a_run_says_what_each_agent_perceives(pair: Path) -> None:
    manifest, summary = (json.loads((pair / name).read_text()) for name in (run_folder.MANIFEST, run_folder.SUMMARY))
    assert manifest["perceives"] == summary["perceives"]
    assert [one["title"] for one in summary["perceives"]["A"]] == ["0", "90"]
    assert all(30 < one["missing"] < 80 and one["shape"] == [1, 8, 8] for one in summary["perceives"]["A"])
    assert summary["perceives"]["B"] == [{"title": "45", "shape": [1, 8, 8], "missing": 0}]
    assert summary["agents"]["A"]["ari"] > 0.15, "a collapsed run tests nothing"


@pytest.mark.parametrize("fusion", ["product", "mixture"])
def test_a_resumed_run_is_the_uninterrupted_one(fusion: str, tmp_path: Path) -> None:
    changes = {"views": "0&90,45", "missing": "0.3", "epochs": "2", "limit": "60", "jitter": "1", "fusion": fusion}
    whole = made(tmp_path / "whole", rounds="2", **changes)
    stopped = made(tmp_path / "stopped", rounds="1", **changes)
    resume(stopped, rounds="2", printer=Silent())
    assert contents(whole) == contents(stopped)
    ends = [torch.load(folder / run_folder.CHECKPOINT, weights_only=True) for folder in (whole, stopped)]
    for name, value in ends[0]["members"]["A"]["agent"].items():
        assert torch.equal(value, ends[1]["members"]["A"]["agent"][name]), name


def test_all_commands_take_it(pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(pair, run)
    assert cli.main(["diagnose", str(run), "--no-plots"]) == 0
    capsys.readouterr()
    assert cli.main(["recall", str(run), "--count", "2", "--pairs", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["agents"]) == ["A (0)", "A (90)", "B"]
    assert list(report["cross"]) == ["A->B", "B->A (0)", "B->A (90)"]
    assert report["pictures"] == ["recall_A.png", "recall_B.png", "cross_recall.png"]
    for own_ in report["cross"].values():
        assert own_["pixel_distance"] < own_["pixel_distance_shuffled"]
        assert own_["judge_accuracy"] > 0.5 and 0 <= own_["accuracy_draws"] <= 1
    out = tmp_path / "said.jsonl"
    assert cli.main(["corpus", str(run), "--out", str(out)]) == 0 and len(out.read_text().splitlines()) == 400
    assert cli.main(["report", str(run)]) == 0
    page = (run / run_folder.REPORT).read_text()
    for words in (
        "A: 0 (1x8x8, ",
        " of 200 missing) &amp; 90 (1x8x8",
        "Recall by agent A (90)",
        "Cross recall: A (0) speaks",
    ):
        assert words in page, words


def test_new_images_are_looked_at_by_every_view(pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["name", str(pair), "--split", "rest", "--limit", "20"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len([row for row in rows if row[0].isdigit()]) == 20
    run = load_run(pair)
    upright = digits("0,45", limit="200").views[0][:30].numpy()
    named = run.name(upright)
    # Where nothing was missing, what was learned from is what is looked at now.
    there = ~np.isnan(run.objects.views[0][:30].numpy()).any(1)
    assert 5 < there.sum() < 25
    agent, mind = run.models["A"], run.parameters["A"]
    alone = (agent.perceive(run.objects.views[0], None).log_prob_table(mind) + agent.log_pi).argmax(-1)[:30].numpy()
    np.testing.assert_array_equal(named.signs["A"][there], alone[there])


def test_a_loaded_run_takes_observations_apart(pair: Path) -> None:
    run = load_run(pair)
    parts = run.modalities("A", run.recall(3, draws=2)["A"].draws)
    assert {title: part.shape for title, part in parts.items()} == {"0": (2, 1, 8, 8), "90": (2, 1, 8, 8)}
    assert run.imagine("B", "A", objects=[0, 1]).shape == (2, 128) and run.latents("A").shape == (200, 4)
    assert list(run.modalities("B", run.objects.views[1])) == ["45"]
    with pytest.raises(UsageError, match=r"\(B, \*\(128,\)\)"):
        run.modalities("A", np.zeros((2, 5)))


def test_an_image_of_each_agents_modality_turns_with_the_view(pair: Path) -> None:
    """What A imagines by the turned modality is what it imagines by the upright one, turned."""
    run = load_run(pair)
    off, at_random = [], []
    for k in range(10):
        parts = run.modalities("A", run.recall(k, draws=0)["A"].mean[None])
        upright = torch.from_numpy(parts["0"])
        turned = apply_views(upright, (90.0,), names="A", seed=0)[0].numpy()
        off.append(np.abs(turned - parts["90"]).mean())
        at_random.append(np.abs(upright.numpy() - parts["90"]).mean())
    assert np.mean(off) < 0.8 * np.mean(at_random)


def test_features_of_ones_own_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = csvs(tmp_path)
    run = tmp_path / "run"
    given = ["train", "--dataset", "csv", "--data", data, "--likelihood", "gaussian", "--latent-dim", "2", *QUICK]
    assert cli.main([*given, "--run-dir", str(run)]) == 0
    assert "Views: A a1.csv (4, 2 of 12 missing) & a2.csv (3); B b.csv (5)" in capsys.readouterr().out
    assert cli.main(["train", "--resume", str(run), "--rounds", "1"]) == 0
    assert cli.main(["diagnose", str(run), "--no-plots"]) == 0
    assert (
        cli.main(["report", str(run)]) == 0 and "feature vectors of 4 numbers" in (run / run_folder.REPORT).read_text()
    )
    capsys.readouterr()
    for command, said in (
        (["recall", str(run)], ["has no images to recall", "agent A, modality 'a1.csv', observes feature vectors"]),
        (
            ["name", str(run), "--images", str(tmp_path)],
            ["cannot name images (use --new", "agent A, modality 'a1.csv',"],
        ),
    ):
        assert cli.main(command) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and all(part in err for part in said)
    (tmp_path / "a1.csv").write_text(table(ONE))
    assert cli.main(["train", "--resume", str(run), "--rounds", "2"]) == 2
    assert "not those of the run" in capsys.readouterr().err


def test_one_folder_of_images_cannot_feed_two_modalities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    given = ["train", "--dataset", "folder", "--data", folders(tmp_path), "--image-size", "8", *QUICK]
    assert cli.main([*given, "--run-dir", str(run)]) == 0
    assert cli.main(["recall", str(run), "--count", "1", "--pairs", "1"]) == 0
    capsys.readouterr()
    assert cli.main(["name", str(run), "--images", str(tmp_path / "b")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "agent A has 2 modalities" in err and "a1 & a2" in err


def test_a_comparison_takes_modalities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--dataset", "digits", "--limit", "30", "--latent-dim", "2", *QUICK]
    arguments = ["compare", "--out", str(tmp_path / "grid"), "--modes", "com", "--seeds", "0", "--jobs", "1"]
    variants = ["--variant", "two: --views '0&90,45' --missing 0.2"]
    assert cli.main([*arguments, *variants, "--", *words]) == 0
    assert cli.main([*arguments[:3], "--json"]) == 0, "what the grid holds is the same again"
    assert len(list((tmp_path / "grid").rglob(run_folder.SUMMARY))) == 2  # the grid's own too
    assert "two" in capsys.readouterr().out


def test_agents_of_other_fusions_side_by_side(tmp_path: Path) -> None:
    config = resolve({
        "dataset": "digits", "limit": "40", "views": "0&90,45&0", "agent": ["B: --fusion mixture --network conv"],
    })  # fmt: skip
    objects, agents, *_ = load_objects(config)
    members = build_members(agents, objects, pick_device("cpu"))
    kinds = [type(one.agent.fusion).__name__ for one in members if isinstance(one.agent, Multimodal)]
    assert kinds == ["ProductOfExperts", "MixtureOfExperts"]


def test_models_lists_the_fusions(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out
    assert "--fusion:" in out and "1802.05335" in out and "1911.03393" in out
