"""Who meets whom: graphs by name, files of edges, and one line for everything that is wrong with them."""

import networkx as nx
import pytest

from mhng.experiment.errors import UsageError
from mhng.experiment.settings.config import resolve
from mhng.experiment.settings.graph_spec import parse_graph
from mhng.experiment.training import graphs
from mhng.experiment.training.graphs import meetings_of, pairs_by_distance
from mhng.experiment.util.agent_names import agent_names
from mhng.inference.topology import RandomPairs, Together


def graph_edges(meet, M, seed):
    return graphs.graph_edges(parse_graph(meet), M, seed)


def test_agents_are_named_past_the_alphabet():
    names = agent_names(800)
    assert names[:3] == ["A", "B", "C"] and names[25:28] == ["Z", "AA", "AB"] and names[702] == "AAA"
    assert len(set(names)) == 800


@pytest.mark.parametrize(
    ("meet", "expected"),
    [
        ("complete", {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}),
        ("ring", {(0, 1), (1, 2), (2, 3), (0, 3)}),
        ("star", {(0, 1), (0, 2), (0, 3)}),
        ("bridges", {(0, 1), (2, 3), (0, 2)}),
        ("bridges:2", {(0, 1), (2, 3), (0, 2), (1, 3)}),
        ("bridges:4", {(0, 1), (2, 3), (0, 2), (1, 2), (0, 3), (1, 3)}),
    ],
)
def test_graphs_have_the_edges_of_their_name(meet, expected):
    assert set(graph_edges(meet, 4, 0)) == expected


@pytest.mark.parametrize("meet", ["complete", "ring", "star"])
def test_two_agents_have_one_edge_whatever_the_graph(meet):
    assert graph_edges(meet, 2, 0) == ((0, 1),)


def test_a_small_world_is_connected_drawn_from_the_seed_and_rewired_by_its_probability():
    regular, rewired = graph_edges("small-world:0", 20, 1), graph_edges("small-world:0.5", 20, 1)
    assert len(regular) == len(rewired) == 40 and nx.is_connected(nx.Graph(rewired))
    assert set(regular) == {tuple(sorted((m, (m + step) % 20))) for m in range(20) for step in (1, 2)}
    assert rewired != regular
    assert rewired == graph_edges("small-world:0.5", 20, 1) != graph_edges("small-world:0.5", 20, 2)
    assert graph_edges("small-world", 20, 2**63 - 1)


@pytest.mark.parametrize("M", [5, 9])
def test_as_many_bridges_as_asked_for_join_the_halves(M):
    half = M // 2
    for count in range(1, half * (M - half) + 1):
        across = [pair for pair in graph_edges(f"bridges:{count}", M, 0) if pair[0] < half <= pair[1]]
        assert len(across) == count


def test_a_file_of_edges(tmp_path):
    file = tmp_path / "who.txt"
    file.write_text("# of whom\nA B\n\nC  AA # far\nB A\n")
    assert graph_edges(str(file), 27, 0) == ((0, 1), (2, 26))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A B\nA E\n", ["line 2", "from A to D", "'A E'"]),
        ("A B C\n", ["line 1"]),
        ("A\n", ["line 1"]),
        ("A A\n", ["two different agents"]),
        ("a b\n", ["'a b'"]),
        ("# nobody\n", ["holds no edge"]),
    ],
)
def test_a_file_that_is_none_is_refused_by_its_line(tmp_path, text, said):
    file = tmp_path / "who.txt"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        graph_edges(str(file), 4, 0)
    message = str(caught.value)
    assert "who.txt" in message and "\n" not in message and all(part in message for part in said)


@pytest.mark.parametrize(
    ("meet", "said"),
    [
        ("rong", "expected together, complete, ring"),
        ("small-world:2", "P from 0 to 1"),
        ("small-world:x", "P from 0 to 1"),
        ("small-world", "--agents 6"),
        ("bridges:-1", "number B from 0"),
        ("bridges:1.5", "number B from 0"),
        ("bridges:inf", "number B from 0"),
        ("bridges:nan", "number B from 0"),
        ("bridges:5", "at most one bridge for each pair"),
        (".", "expected a file of edges"),
        ("", "or a file of edges"),
    ],
)
def test_what_is_no_graph_is_refused(meet, said):
    with pytest.raises(UsageError, match="--meet") as caught:
        meetings_of(resolve({"meet": meet, "agents": "4"}).graphs, 4, 0)
    assert said in str(caught.value)


def test_a_binary_file_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff\xfe\x00A B")
    with pytest.raises(UsageError, match="cannot be read"):
        graph_edges(str(tmp_path / "x"), 4, 0)


def test_meetings_that_are_no_graph():
    assert meetings_of([(0, parse_graph("together"))], 4, 0) == Together()
    assert meetings_of([(0, parse_graph("random-pairs"))], 4, 3, synchronous=True) == RandomPairs(3, True)


def test_distances_are_edges_between_and_what_no_path_joins_is_left_out():
    assert pairs_by_distance(((0, 1), (1, 2), (3, 4)), 6) == {1: [(0, 1), (1, 2), (3, 4)], 2: [(0, 2)]}


@pytest.mark.parametrize(("meet", "M", "most"), [("ring", 8, 2), ("ring", 9, 3), ("complete", 9, 17), ("star", 7, 6)])
def test_edges_that_can_be_played_at_once_follow_one_another(meet, M, most):
    """In rows that no agent is twice in: a ring of an even number has two."""
    rows = [set()]
    for a, b in graph_edges(meet, M, 0):
        if rows[-1] & {a, b}:
            rows.append(set())
        rows[-1] |= {a, b}
    assert len(rows) <= most
