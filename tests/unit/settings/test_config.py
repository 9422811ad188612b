"""Settings: defaults, file, flags; and one clear line for everything that is wrong."""

from pathlib import Path

import pytest

from mhng.experiment.errors import UsageError
from mhng.experiment.settings.config import plain, resolve, to_flags, to_toml
from mhng.experiment.settings.parsing import read_settings, toml_value
from mhng.experiment.settings.schema import SETTINGS, Config
from mhng.experiment.settings.validation import notes


def write(folder, text):
    file = folder / "run.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_flag_beats_the_file_and_the_file_the_default(tmp_path):
    file = write(tmp_path, 'epochs = 7\nlr = 1\nviews = [0, 90]\nmode = "all"\ndownload = true\n')
    config = resolve({"epochs": "9", "limit": "50"}, file)
    assert (config.epochs, config.lr, plain(config)["views"], config.mode) == (9, 1.0, (0.0, 90.0), "all")
    assert config.limit == 50 and config.download is True and config.thin == Config().thin


def test_views_are_spread_over_agents_that_have_none():
    for flags, views in (
        ({"agents": "4"}, (0, 25, 50, 75)),
        ({"agents": "2"}, (0, 45)),
        ({"agents": "3", "views": "1,2,3"}, (1, 2, 3)),
    ):
        assert plain(resolve(flags))["views"] == views


def test_data_sets_have_defaults_of_their_own():
    for flags, views, signs in (
        ({"dataset": "fruits360"}, (0, 25), 10),
        ({"dataset": "fruits360-20"}, (0, 25), 20),
        ({"dataset": "fruits360-20", "signs": "7", "views": "0,30"}, (0, 30), 7),
        ({"dataset": "fruits360", "agents": "4"}, (0, 25, 50, 75), 10),
    ):
        settings = plain(resolve(flags))
        assert settings["views"] == views and settings["signs"] == signs
        assert settings["likelihood"] == "gaussian-fixed" and settings["noise"] == 0.5
    assert resolve({"dataset": "fruits360", "likelihood": "gaussian"}).noise == Config().noise
    assert resolve({"dataset": "fruits360", "noise": "0.3"}).noise == 0.3
    numbers = resolve({"dataset": "numbers"})
    assert (numbers.limit, numbers.standardise, numbers.reduce) == (3000, "no", 24)
    assert resolve({"dataset": "numbers", "likelihood": "identity"}).reduce == 24
    assert resolve({"dataset": "numbers", "likelihood": "gaussian"}).reduce is None  # a VAE learns from all pixels
    sprites = {"dataset": "sprites"}
    for flags, expected in [(sprites, 5), (sprites | {"rounds": "7"}, 7), ({"dataset": "digits"}, Config().rounds)]:
        assert resolve(flags).rounds == expected


@pytest.mark.parametrize(
    "flags",
    [
        {"rounds": "60"},
        {"dataset": "fruits360", "rounds": str(Config().rounds), "views": "0,45"},
        {"dataset": "fruits360", "likelihood": "gaussian"},
        {"dataset": "fruits360-20", "noise": "0.2", "signs": "10"},
        {"dataset": "sprites", "network": "mlp", "rounds": "0", "jitter": "1"},
        {"dataset": "numbers", "limit": "50"},
    ],
)
def test_flags_of_settings_override_the_defaults_of_a_data_set(flags):
    config = resolve(flags)
    assert {word.split("=")[0] for word in to_flags(config)} == {f"--{name}" for name in flags}
    assert resolve(read_settings(to_flags(config))) == config


def test_the_resolved_file_gives_the_same_settings_again(tmp_path):
    config = resolve({"data_root": "Ünï 実験 \\ dir", "limit": "3", "views": "0,-12.5", "run_dir": "x"})
    again = resolve({}, write(tmp_path, to_toml(config)))
    assert plain(again) == plain(config) and again.run_dir is None
    assert set(plain(config)) == {name.replace("_", "-") for name in SETTINGS} - {"run-dir", "overwrite"}


@pytest.mark.parametrize(("typed", "mode"), [("-1", "com"), ("0", "no-com"), ("1", "all"), ("gibbs", "gibbs")])
def test_the_references_numbers_stand_for_modes(typed, mode, tmp_path):
    assert resolve({"mode": typed}).mode == mode
    if typed != "gibbs":
        assert resolve({}, write(tmp_path, f"mode = {typed}")).mode == mode


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"mode": "con"}, ["--mode", "'con'", "did you mean com?"]),
        ({"signs": "0"}, ["--signs", "1 or more", "0"]),
        ({"signs": "ten"}, ["--signs", "whole number", "'ten'"]),
        ({"epochs": "3.5"}, ["--epochs", "whole number"]),
        ({"lr": "0"}, ["--lr", "more than 0"]),
        ({"lr": "inf"}, ["--lr", "finite"]),
        ({"views": "0,x"}, ["--views", "'x'", "degrees, patch:R.C/G"]),
        ({"views": "0"}, ["--views has 1 entries", "one for each agent"]),
        ({"views": "0,nan"}, ["--views", "finite"]),
        ({"agents": "3", "views": "0,45"}, ["--views has 2 entries", "one for each agent, 3"]),
        ({"agents": "1"}, ["--agents", "2 or more"]),
        ({"recursion": "ll"}, ["--recursion", "exact, os, ll:T"]),
        ({"recursion": "exact", "meet": "ring"}, ["--recursion exact requires --meet together", "--meet is ring"]),
        ({"synchronous": True}, ["--synchronous", "--meet"]),
        ({"agents": "3", "listener_state": "speaker-sample"}, ["speaker-sample", "--meet"]),
        (
            {"agents": "3", "recursion": "exact", "acceptance": "binary"},
            ["--recursion exact requires --acceptance mh"],
        ),
        ({"agents": "20", "recursion": "ll:10"}, ["--recursion ll:10 with 20 agents", "1000000000000000000 signs"]),
        ({"batch_size": "0"}, ["--batch-size"]),
        ({"seed": "-1"}, ["--seed", "0 or more"]),
        ({"seed": str(2**63)}, ["--seed", "or less"]),
        ({"seed": "9" * 400}, ["--seed", "or less", "10**"]),
        ({"signs": "-" + "9" * 400}, ["--signs", "-10**"]),
        ({"signs": "9" * 5000}, ["--signs", "whole number"]),
        ({"batch_size": "9" * 30}, ["--batch-size", "or less"]),
        ({"lr": "9" * 400}, ["--lr", "finite"]),
        ({"acceptance": "constant:2"}, ["--acceptance", "constant:P"]),
        ({"sweeps": "5", "burn_in": "5"}, ["--burn-in", "--sweeps, 5"]),
        ({"split_merge": "1"}, ["--split-merge 1", "--listener-state shared"]),
        ({"split_merge": "1", "mode": "all", "listener_state": "shared"}, ["--split-merge 1", "--mode is all"]),
        ({"split_merge": "1", "mode": "gibbs", "signs": "2"}, ["--split-merge 1", "--signs 3"]),
        ({"network": "convv"}, ["--network", "or MODULE:NAME", "did you mean conv?"]),
        ({"guide": "ful"}, ["--guide", "did you mean full?"]),
        ({"likelihood": "my-module:Mine"}, ["--likelihood is 'my-module:Mine'; expected MODULE:NAME"]),
        ({"likelihood": "gaussian:"}, ["--likelihood is 'gaussian:'; expected MODULE:NAME"]),
        ({"mode": "a:b"}, ["--mode is 'a:b'; expected one of"]),
        ({"noise": "0"}, ["--noise is 0.0; expected more than 0"]),
        ({"noise": "0.3"}, ["--noise requires --likelihood gaussian-fixed", "not given"]),
        ({"likelihood": "identity", "guide": "full"}, ["--likelihood identity does not support --guide full"]),
        ({"likelihood": "identity", "network": "conv"}, ["--likelihood identity does not support --network conv"]),
        ({"likelihood": "identity", "percept": "mean"}, ["--likelihood identity does not support --percept mean"]),
        ({"likelihood": "multinomial", "reduce": "2"}, ["--reduce 2 does not support --likelihood multinomial"]),
        (
            {"likelihood": "multinomial", "network": "conv"},
            ["--likelihood multinomial does not support --network conv"],
        ),
        ({"limit": "-3"}, ["--limit"]),
        ({"thin": "0"}, ["--thin", "1 or more"]),
        ({"keep": "sign"}, ["--keep", "did you mean signs?"]),
        ({"dimension": "0"}, ["--dimension", "1 or more"]),
    ],
)
def test_wrong_flags_are_named(flags, said):
    with pytest.raises(UsageError) as caught:
        resolve(flags)
    message = str(caught.value)
    assert "\n" not in message
    for part in said:
        assert part in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch = 3", ["unknown key 'epoch'", "did you mean epochs?"]),
        ("latent_dim = 3", ["unknown key 'latent_dim'", "did you mean latent-dim?"]),
        ("[learning]\nepochs = 3", ["unknown key 'learning'"]),
        ('epochs = "three"', ["epochs is 'three'; expected a whole number"]),
        ("epochs = 3.5", ["epochs is ", "expected a whole number"]),
        ("epochs = true", ["epochs is ", "expected a whole number"]),
        ('lr = "1e-3"', ["lr is '1e-3'; expected a number"]),
        ('download = "no"', ["download is 'no'; expected true or false"]),
        ("views = 45", ["views is ", "expected a list of numbers"]),
        ("views = [0, true]", ["views is ", "expected a list of numbers"]),
        ('mode = "con"', ["mode is 'con'; expected one of", "did you mean com?"]),
        ("epochs = 3\nepochs = 4", ["not valid TOML"]),
        ("epochs = ", ["not valid TOML"]),
        ("signs = 0", ["signs is 0; expected 1 or more"]),
        ("lr = " + "9" * 400, ["lr is too large"]),
        ("views = [0, " + "9" * 400 + "]", ["views is too large"]),
        ("limit = " + "9" * 5000, ["not valid TOML"]),
        ("views = " + "[" * 9000, ["not valid TOML"]),
    ],
)
def test_wrong_keys_are_named_with_their_file(text, said, tmp_path):
    with pytest.raises(UsageError) as caught:
        resolve({}, write(tmp_path, text))
    message = str(caught.value)
    assert "\n" not in message and "run.toml" in message
    for part in said:
        assert part in message


def test_a_byte_order_mark_is_no_setting(tmp_path):
    file = tmp_path / "run.toml"
    file.write_bytes(b"\xef\xbb\xbfepochs = 3\n")
    assert resolve({}, file).epochs == 3


def test_a_saved_path_means_the_same_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve({"data_root": "here"}).data_root == tmp_path / "here"
    assert resolve({}, write(tmp_path, 'data-root = "here"')).data_root == tmp_path / "here"


def test_an_empty_file_means_the_defaults_and_an_absent_one_is_an_error(tmp_path):
    assert resolve({}, write(tmp_path, "")) == resolve({})
    with pytest.raises(UsageError, match="--config"):
        resolve({}, Path(tmp_path) / "absent.toml")
    with pytest.raises(UsageError, match="--config"):
        resolve({}, tmp_path)


def test_the_defaults_pass_their_own_checks():
    assert resolve({}) == Config()


@pytest.mark.parametrize(
    ("flags", "draws"),
    [
        ({"sweeps": "6", "burn_in": "5"}, "1 draw"),
        ({"sweeps": "40", "burn_in": "10", "thin": "100"}, "1 draw"),
        ({"sweeps": "10", "burn_in": "9"}, "1 draw"),
        ({"sweeps": "16", "burn_in": "1", "thin": "5"}, "3 draws"),
        ({"sweeps": "17", "burn_in": "1", "thin": "5"}, None),
        ({"sweeps": "1", "burn_in": "0", "mode": "variational"}, None),
        ({}, None),
    ],
)
def test_settings_that_leave_few_draws_are_noted(flags, draws):
    said = notes(resolve(flags))
    assert len(said) == (draws is not None)
    if draws is not None:
        assert f"leave {draws} per chain; R-hat and ESS need at least 4" in said[0]
        assert all(word in said[0] for word in ("--sweeps", "--burn-in", "--thin"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"mode": "gibbs", "acceptance": "binary"}, ["--mode gibbs ignores --acceptance binary"]),
        ({"mode": "all", "acceptance": "binary"}, ["--mode all ignores --acceptance binary"]),
        ({"mode": "no-com", "listener_state": "shared"}, ["--mode no-com ignores --listener-state shared"]),
        ({"mode": "com", "recursion": "ll:3"}, ["with two agents --recursion ll:3 has no effect"]),
        ({"mode": "com", "recursion": "ll:3", "agents": "3"}, []),
        ({"mode": "com", "acceptance": "binary", "listener_state": "shared"}, []),
        ({"mode": "gibbs"}, []),
    ],
)
def test_settings_of_the_game_that_have_no_effect_are_noted(flags, said):
    assert notes(resolve(flags)) == said


@pytest.mark.parametrize(
    "data",
    [
        ("a,b c/p.csv",),
        ("a,b c/p.csv", "q,r.csv"),
        (("a,b c/p.csv", "x&y.csv"), "plain.csv"),
        ("[1].csv",),
        ("x&y.csv", "a,b c/p.csv", "plain.csv"),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_paths_with_separators_survive_flags_and_files(
    data: tuple[str | tuple[str, ...], ...], there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if there:
        (tmp_path / "a,b c").mkdir()
        for name in ("a,b c/p.csv", "q,r.csv", "x&y.csv", "plain.csv", "[1].csv"):
            (tmp_path / name).touch()
        typed = ",".join("&".join(entry) if isinstance(entry, tuple) else entry for entry in data)
        flat = resolve({"dataset": "csv", "data": typed})
        assert flat == resolve({"dataset": "csv", "data": toml_value(data)})
    config = resolve({"dataset": "csv", "data": toml_value(data)})
    file = write(tmp_path, to_toml(config))
    assert plain(resolve({}, file)) == plain(config)
    assert resolve(read_settings(to_flags(config))) == config


@pytest.mark.parametrize(("sweeps", "burn_in"), [(1, 0), (4, 1), (10, 4), (49, 19), (50, 20), (500, 20)])
def test_burn_in_follows_few_sweeps_unless_it_is_given(sweeps, burn_in):
    assert resolve({"sweeps": str(sweeps)}).burn_in == burn_in
    assert resolve({"sweeps": "60", "burn_in": "30"}).burn_in == 30
