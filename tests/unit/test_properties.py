"""What must hold for all inputs, held against many: scores, acceptance rules, settings, the run folder.

Examples are drawn from a fixed seed, the same in every run.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from mhng.experiment.data.labels import encode_labels
from mhng.experiment.data.views import parse_views
from mhng.experiment.errors import UsageError
from mhng.experiment.metrics import partitions
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.settings import config as configs
from mhng.experiment.settings import schema
from mhng.experiment.settings.config import resolve, to_flags, to_toml
from mhng.experiment.settings.graph_spec import parse_graph, parse_later
from mhng.experiment.settings.parsing import parse_prior, read_settings
from mhng.experiment.settings.schema import SETTINGS, Config
from mhng.experiment.util.jsonable import to_plain
from mhng.inference.proposals import acceptance_rule
from mhng.models.belief import offer, proposal_logits
from mhng.models.rng import categorical

settings.register_profile(
    "fixed", derandomize=True, deadline=None, database=None, max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
settings.load_profile("fixed")

Signs = NDArray[np.int64]


def complaint(call: Callable[[], Any]) -> str:
    """What a `UsageError` says, or nothing."""
    try:
        call()
    except UsageError as error:
        return str(error)
    return ""


def signs(agents: int) -> st.SearchStrategy[Signs]:
    """(agents, N) of K signs."""
    return st.tuples(st.integers(1, 30), st.integers(1, 6)).flatmap(
        lambda size: arrays.arrays(np.int64, (agents, size[0]), elements=st.integers(0, size[1] - 1))
    )


# -- scores ------------------------------------------------------------------------------------------


@given(signs(2), st.randoms(use_true_random=False))
def test_scores_of_partitions_do_not_depend_on_names_sides_or_order(pair: Signs, random: Any) -> None:
    a, b = pair
    names = list(range(10))
    random.shuffle(names)
    renamed = np.array(names)[a]
    order = list(range(len(a)))
    random.shuffle(order)
    for score, least in ((partitions.ari, -0.5), (partitions.nmi, 0.0), (partitions.accuracy, 0.0)):
        value = score(a, b)
        assert value is not None and least - 1e-12 <= value <= 1 + 1e-12
        assert math.isclose(value, score(renamed, b) or 0, abs_tol=1e-12)
        assert math.isclose(value, score(a[order], b[order]) or 0, abs_tol=1e-12)
        assert math.isclose(value, score(b, a) or 0, abs_tol=1e-12)
        assert math.isclose(score(a, renamed) or 0, 1, abs_tol=1e-12)


@given(signs(3))
def test_kappa_is_agreement_on_names(trio: Signs) -> None:
    matrix = partitions.kappa_matrix(trio)
    assert (matrix <= 1 + 1e-12).all() and (matrix >= -1 - 1e-12).all()
    assert (matrix == matrix.T).all() and (np.diag(matrix) == 1).all()
    for i in range(3):
        for j in range(3):
            assert math.isclose(matrix[i, j], partitions.kappa(trio[i], trio[j]), abs_tol=1e-12)
    assert partitions.matched_kappa(trio[0], trio[1]) >= partitions.kappa(trio[0], trio[1]) - 1e-12
    assert partitions.fleiss_kappa(trio) <= 1 + 1e-12


# -- acceptance --------------------------------------------------------------------------------------

LOGS = st.floats(-800, 800) | st.just(-math.inf)
RULES = st.sampled_from(["mh", "numerator", "subtraction", "binary"]) | st.one_of(
    st.floats(0.01, 100).map(lambda t: f"tempered:{t}"), st.floats(0, 1).map(lambda p: f"constant:{p}")
)


@given(arrays.arrays(np.float64, (4, 3), elements=LOGS), RULES, st.data())
def test_a_rule_gives_the_log_of_a_probability_or_not_a_number(
    table: NDArray[np.float64], name: str, data: st.DataObject
) -> None:
    of = torch.tensor(data.draw(arrays.arrays(np.int64, (2, 4), elements=st.integers(0, 2))))
    offered = offer(torch.from_numpy(table), of[0], of[1])
    log_p = acceptance_rule(name)(offered)
    assert (log_p.isnan() | (log_p <= 1e-12)).all()
    # Undecided only between two impossible signs.
    possible = ~offered.log_ratio.isnan()
    if name == "mh" or name.startswith(("tempered", "constant")):
        assert not log_p[possible].isnan().any()


@given(
    arrays.arrays(np.float64, (2, 3), elements=st.floats(-30, 30)),
    arrays.arrays(np.float64, 3, elements=st.floats(0.01, 1)),
)
def test_mh_balances_every_pair_of_signs(tables: NDArray[np.float64], prior: NDArray[np.float64]) -> None:
    """pi(a) T(a, b) = pi(b) T(b, a) for the product of both agents' likelihoods and the prior, in logs."""
    log_prior = torch.from_numpy(prior / prior.sum()).log()
    speaker, listener = torch.from_numpy(tables)
    target = log_prior + speaker + listener
    proposal = proposal_logits(log_prior, speaker[None])[0].log_softmax(-1)
    rule = acceptance_rule("mh")
    now, then = torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")
    accept = rule(offer(listener.expand(9, 3), then.flatten(), now.flatten())).view(3, 3)
    flow = target[:, None] + proposal + accept
    torch.testing.assert_close(flow, flow.T, rtol=0, atol=1e-9)


@given(arrays.arrays(np.float64, (20, 4), elements=LOGS), st.integers(0, 2**31))
def test_a_sign_of_probability_nought_is_never_drawn(table: NDArray[np.float64], seed: int) -> None:
    table[:, 2] = np.where(np.isinf(table).all(1), 0, table[:, 2])  # at least one sign is possible
    drawn = categorical(torch.Generator().manual_seed(seed), torch.from_numpy(table))
    assert not np.isinf(table[np.arange(20), drawn.numpy()]).any()


# -- settings ----------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_characters="\0,", exclude_categories=["Cs"]), min_size=1, max_size=20)


def value_of(name: str) -> st.SearchStrategy[Any]:
    """Values that a setting may have, as far as it can be said without the others."""
    setting = SETTINGS[name]
    least, most, above, below = setting.limits
    if setting.choices is not None:
        return st.sampled_from(setting.choices)
    if setting.type is int:
        assert least is not None and most is not None
        return st.integers(int(least), int(most))
    if setting.type is float:
        bounds = [limit for limit in (most, below) if limit is not None]
        return st.floats(
            0 if least is None else least,
            min(bounds, default=1e300),
            exclude_min=above is not None,
            exclude_max=below is not None,
        )
    if setting.type is bool:
        return st.booleans()
    if setting.type is Path:
        return TEXT.map(lambda text: Path("/") / text)
    return st.sampled_from([SETTINGS[name].default, *SOME.get(name, ())])


# Of settings that are small languages of their own.
SOME: dict[str, list[Any]] = {
    "weights": ["dirichlet:0.5", "sticks:2"],
    "prior": [parse_prior("W=0.5"), parse_prior("beta=0.1,nu=20")],
    "agent": [
        (("B", (("network", "conv"),)),),
        (("A", (("lr", 0.1), ("prior", parse_prior("W=3")))), ("B", (("jitter", 0.0),))),
    ],
    "acceptance": ["tempered:2"],
    "recursion": ["ll:3"],
    "meet": [parse_graph("bridges:2")],
    "meet_later": [parse_later("1=ring,2=small-world:0.5")],
    "views": [parse_views("0,0&blur:1")],
}
CONFIGS = st.builds(
    lambda chosen: dataclasses.replace(Config(), **chosen),
    st.fixed_dictionaries({}, optional={name: value_of(name) for name in SETTINGS}),
)


@given(CONFIGS)
def test_settings_come_back_from_toml_and_from_flags(tmp_path: Path, config: Config) -> None:
    file = tmp_path / "run.toml"
    file.write_bytes(to_toml(config).encode())
    given_names = {name for name, setting in SETTINGS.items() if setting.saved}
    read = configs.read_file(file)
    assert read.keys() <= given_names
    back = dataclasses.replace(Config(), **read)
    for name in given_names:
        assert getattr(back, name) == getattr(config, name), name
    flags = configs.from_flags(read_settings(to_flags(config)))
    assert dataclasses.replace(Config(), **flags) == config


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
KEYS = st.sampled_from([schema.key(name) for name in SETTINGS]) | TEXT


@given(
    st.dictionaries(KEYS, st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=4), max_size=4)
)
def test_any_table_is_settings_or_one_line(table: dict[str, Any]) -> None:
    assert len(complaint(lambda: configs.together(configs.from_table(table, "place")))) < 2000


@given(st.lists(TEXT | st.sampled_from([schema.flag(name) for name in SETTINGS]), max_size=4))
def test_any_words_are_flags_or_one_line(words: list[str]) -> None:
    assert len(complaint(lambda: resolve(read_settings(words)))) < 2000


# -- the run folder ----------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(TEXT, PLAIN, max_size=5), st.lists(st.dictionaries(TEXT, PLAIN, max_size=3), max_size=4))
def test_json_and_rows_come_back(tmp_path: Path, value: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json("summary.json", value)
    assert folder.read_json("summary.json") == value
    folder.file("metrics.jsonl").unlink(missing_ok=True)
    folder.append_metrics(rows)
    assert folder.read_metrics() == rows
    with folder.file("metrics.jsonl").open("ab") as file:
        file.write(b'{"torn')
    assert folder.read_metrics() == rows


@given(
    st.dictionaries(
        TEXT, st.floats() | st.lists(st.floats(), max_size=3) | st.tuples(st.integers(), st.just(math.nan)), max_size=4
    )
)
def test_whatever_is_written_is_strict_json(value: dict[str, Any]) -> None:
    json.dumps(to_plain(value), allow_nan=False)


@given(
    st.dictionaries(
        TEXT,
        arrays.arrays(
            st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]), arrays.array_shapes(max_dims=3)
        ),
        max_size=3,
    )
)
def test_arrays_come_back(tmp_path: Path, value: dict[str, NDArray[Any]]) -> None:
    safe = {f"a{number}": array for number, array in enumerate(value.values())}
    folder = RunFolder(tmp_path)
    folder.write_npz("signs.npz", **safe)
    found = folder.read_npz("signs.npz")
    assert found.keys() == safe.keys()
    for key, array in safe.items():
        assert found[key].dtype == array.dtype
        np.testing.assert_array_equal(found[key], array)


@given(
    st.dictionaries(
        TEXT,
        st.integers(0, 3).flatmap(
            lambda dims: arrays.arrays(np.float32, (2,) * dims, elements=st.floats(width=32)).map(torch.from_numpy)
        )
        | st.integers(-(2**63), 2**63 - 1)
        | TEXT,
        max_size=4,
    )
)
def test_checkpoints_come_back(tmp_path: Path, value: dict[str, Any]) -> None:
    folder = RunFolder(tmp_path)
    folder.save_checkpoint(value)
    found = folder.load_checkpoint()
    assert found.keys() == value.keys()
    for key, expected in value.items():
        if isinstance(expected, torch.Tensor):
            torch.testing.assert_close(found[key], expected, rtol=0, atol=0, equal_nan=True)
        else:
            assert found[key] == expected


@given(
    st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=20)
    | st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20)
    | st.lists(TEXT, min_size=1, max_size=20)
)
def test_labels_are_told_apart_exactly_if_they_differ(labels: list[Any]) -> None:
    said = complaint(lambda: encode_labels("labels", np.asarray(labels)))
    assert "labels[" in said or not said
    if said:
        return
    codes, names = encode_labels("labels", np.asarray(labels))
    assert codes.shape == (len(labels),) and codes.min() >= 0 and codes.max() < len(names)
    assert len(set(names)) == len(names)
    for a, code in zip(labels, codes, strict=True):
        for b, other in zip(labels, codes, strict=True):
            same = a == b if not isinstance(a, str) else None
            if same is not None:
                assert (code == other) == same
            elif a.strip() == b.strip():
                assert code == other
            elif "\0" not in a + b:  # NumPy drops those at the end
                assert code != other
