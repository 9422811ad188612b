"""Who meets whom, by name: the graphs of `--meet` and the lists of edges that users bring.

    together        everyone at once: the recursive game (of two agents, the two-agent game)
    complete        every pair
    ring            each agent and the next, the last and the first
    star            the first agent and each other one
    random-pairs    other pairs in every sweep
    small-world:P   a ring on which each knows its two neighbours on either side, every edge rewired with probability P
                    (Watts and Strogatz 1998; connected)
    bridges:B       two complete communities of half the agents each, joined by B edges, or none
    FILE            a text file: two names of agents a line, `#` begins a remark

All but `together` are games in pairs. What is drawn here follows from the seed alone. `--meet-later R=GRAPH` lets
another graph take over at the beginning of the game of round R.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.settings.graph_spec import GRAPHS, GraphSpec
from mhng.experiment.util.agent_names import agent_names
from mhng.inference.topology import Graph, Meetings, RandomPairs, Stages, Together, meetings_at

Edges = tuple[tuple[int, int], ...]

# A file of edges is read whole.
_MOST_BYTES = 10**7


def meetings_of(
    graphs: Sequence[tuple[int, GraphSpec]],
    M: int,
    seed: int,
    *,
    synchronous: bool = False,
    round_sweeps: int = 1,
    known: Sequence[Edges | None] = (),
) -> Meetings:
    """The meetings of M agents. UsageError naming the flag, or the file and its line.

    graphs: each with its first round, of round_sweeps sweeps. known: the edges of each graph, where they
    are, as for a run that goes on: a file of them may have changed.
    """
    given = [*known, *[None] * (len(graphs) - len(known))]
    found = []
    for (round, graph), pairs in zip(graphs, given, strict=True):
        place = "--meet" if round == 0 else f"--meet-later {round}={graph}"
        found.append((round * round_sweeps, _meetings(graph, M, seed, synchronous, pairs, place)))
    return found[0][1] if len(found) == 1 else Stages(tuple(found), synchronous)


def recorded_edges(meetings: Meetings) -> list[list[tuple[int, int]] | None]:
    """The edges of each stage, for the record; None of random pairs, and nothing where all meet together."""
    each = [stage for _, stage in meetings.stages] if isinstance(meetings, Stages) else [meetings]
    return [list(one.edges) if isinstance(one, Graph) else None for one in each if not isinstance(one, Together)]


def edges_at(meetings: Meetings, sweep: int) -> Edges | None:
    """Who meets whom in sweep number `sweep` of the run, where that is a graph."""
    now = meetings_at(meetings, sweep)
    return now.edges if isinstance(now, Graph) else None


def _meetings(
    graph: GraphSpec, M: int, seed: int, synchronous: bool, pairs: Edges | None, place: str
) -> Together | Graph | RandomPairs:
    if graph.kind == "together":
        return Together()
    if graph.kind == "random-pairs":
        return RandomPairs(seed, synchronous)
    if pairs is None:
        try:
            pairs = graph_edges(graph, M, seed)
        except UsageError as error:
            said = str(error)
            if place != "--meet" and said.startswith("--meet "):
                said = f"{place}: {said}"
            raise UsageError(said) from error
    return Graph(tuple(pairs), synchronous)


def graph_edges(spec: GraphSpec, M: int, seed: int) -> Edges:
    """The pairs a < b of M agents that meet, in the order of their game; none of `together` and `random-pairs`."""
    import networkx as nx

    if spec.kind == "complete":
        graph = nx.complete_graph(M)
    elif spec.kind == "ring":
        graph = nx.cycle_graph(M) if M > 2 else nx.path_graph(M)
    elif spec.kind == "star":
        graph = nx.star_graph(M - 1)
    elif spec.kind == "small-world":
        if M < 6:
            raise UsageError(f"--meet {spec} needs --agents 6 or more; there are {M}")
        # Of numpy's seeds no more than 32 bits are taken.
        graph = nx.connected_watts_strogatz_graph(M, 4, spec.number, seed=seed % 2**32)
    elif spec.kind == "bridges":
        graph = _bridged(M, int(spec.number), spec.text)
    else:
        graph = _from_file(Path(spec.text), M)
    return _in_rows((min(a, b), max(a, b)) for a, b in graph.edges)


def _in_rows(pairs: Iterable[tuple[int, int]]) -> Edges:
    """Edges so that those which share no agent follow one another, as they can be played at once (a colouring)."""
    rows: list[tuple[int, int, int]] = []
    taken: dict[int, int] = {}  # by agent: a bit for each row that it is in
    for a, b in sorted(pairs):
        free = ~(taken.get(a, 0) | taken.get(b, 0))
        bit = free & -free  # the first row that neither is in
        taken[a], taken[b] = taken.get(a, 0) | bit, taken.get(b, 0) | bit
        rows.append((bit.bit_length(), a, b))
    return tuple((a, b) for _, a, b in sorted(rows))


def pairs_by_distance(pairs: Edges, M: int) -> dict[int, list[tuple[int, int]]]:
    """Pairs of agents by the edges between them, the nearest first; those that no path joins are left out."""
    import networkx as nx

    graph = nx.Graph(pairs)
    found: dict[int, list[tuple[int, int]]] = {}
    for a, lengths in nx.all_pairs_shortest_path_length(graph):
        for b, length in lengths.items():
            if a < b:
                found.setdefault(length, []).append((a, b))
    return dict(sorted(found.items()))


def _bridged(M: int, count: int, meet: str) -> Any:
    import networkx as nx

    half = M // 2
    if M < 4 or count > half * (M - half):
        raise UsageError(
            f"--meet {meet} needs --agents 4 or more, and no more bridges than pairs between the halves; "
            f"there are {M} agents"
        )
    graph = nx.disjoint_union(nx.complete_graph(half), nx.complete_graph(M - half))
    # Each bridge between two that have none yet, as long as there are such.
    graph.add_edges_from(
        [(b % half, half + (b + b // half) % (M - half)) for b in range(count)]
        if count <= half
        else [(b % half, half + b // half) for b in range(count)]
    )
    return graph


def _from_file(path: Path, M: int) -> Any:
    import networkx as nx

    numbers = {name: m for m, name in enumerate(agent_names(M))}
    try:
        size = path.stat().st_size
        if not path.is_file() or size > _MOST_BYTES:
            raise UsageError(f"--meet {path}: a file of edges must be a file of at most {_MOST_BYTES} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            f"--meet must be one of {', '.join(GRAPHS)}, or a file of edges; there is no file {str(path)!r}"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"--meet {path}: the file of edges cannot be read: {error}") from error
    graph = nx.Graph()
    for number, line in enumerate(text.splitlines(), 1):
        names = line.partition("#")[0].split()
        if not names:
            continue
        unknown = [name for name in names if name not in numbers]
        if len(names) != 2 or unknown or names[0] == names[1]:
            raise UsageError(
                f"{path}, line {number}: an edge is two different names of agents, of "
                f"{next(iter(numbers))} to {list(numbers)[-1]}; it is {line.strip()[:60]!r}"
            )
        graph.add_edge(*(numbers[name] for name in names))
    if not graph.edges:
        raise UsageError(f"{path} holds no edge")
    return graph
