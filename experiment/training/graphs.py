"""Encounter graphs: which agents meet, by the names of `--meet` or from a file of edges.

    together        all agents at once: the recursive game; with two agents, the two-agent game
    complete        every pair
    ring            neighbours on a ring
    star            the first agent and every other agent
    random-pairs    new random pairs in every sweep
    small-world:P   a ring with two neighbours on either side; every edge is rewired with probability P
                    (Watts and Strogatz 1998; connected)
    bridges:B       two complete groups, each with half of the agents, connected by B edges (B may be 0)
    FILE            a text file with two names of agents per line; `#` starts a comment

All except `together` are games in pairs. Random graphs depend on the seed only. With `--meet-later R=GRAPH`, another
graph is used from the game of round R on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.settings.graph_spec import GRAPHS, GraphSpec
from mhng.experiment.util.agent_names import agent_names
from mhng.experiment.util.text import suggestion
from mhng.inference.topology import Graph, Meetings, RandomPairs, Stages, Together, meetings_at

Edges = tuple[tuple[int, int], ...]

_MAX_FILE_BYTES = 10**7  # a file of edges is read at once


def meetings_of(
    graphs: Sequence[tuple[int, GraphSpec]],
    M: int,
    seed: int,
    *,
    synchronous: bool = False,
    round_sweeps: int = 1,
    known: Sequence[Edges | None] = (),
) -> Meetings:
    """Meetings of M agents. Raises UsageError naming the flag, or the file and its line.

    graphs: graphs with their first rounds. round_sweeps: sweeps per round. known: recorded edges by graph, for a
    resumed run, because a file of edges may have changed.
    """
    recorded = [*known, *[None] * (len(graphs) - len(known))]
    stages = []
    for (round, graph), edges in zip(graphs, recorded, strict=True):
        place = "--meet" if round == 0 else f"--meet-later {round}={graph}"
        stages.append((round * round_sweeps, _meetings(graph, M, seed, synchronous, edges, place)))
    return stages[0][1] if len(stages) == 1 else Stages(tuple(stages), synchronous)


def recorded_edges(meetings: Meetings) -> list[list[tuple[int, int]] | None]:
    """Edges by graph, for the manifest: None for random pairs; no entry for `together`."""
    stages = [stage for _, stage in meetings.stages] if isinstance(meetings, Stages) else [meetings]
    return [
        list(stage.edges) if isinstance(stage, Graph) else None for stage in stages if not isinstance(stage, Together)
    ]


def edges_at(meetings: Meetings, sweep: int) -> Edges | None:
    """Edges of the graph in sweep `sweep` of the run; None without a graph."""
    current = meetings_at(meetings, sweep)
    return current.edges if isinstance(current, Graph) else None


def _meetings(
    graph: GraphSpec, M: int, seed: int, synchronous: bool, edges: Edges | None, place: str
) -> Together | Graph | RandomPairs:
    if graph.kind == "together":
        return Together()
    if graph.kind == "random-pairs":
        return RandomPairs(seed, synchronous)
    if edges is None:
        try:
            edges = graph_edges(graph, M, seed)
        except UsageError as error:
            message = str(error)
            if place != "--meet" and message.startswith("--meet "):
                message = f"{place}: {message}"
            raise UsageError(message) from error
    return Graph(tuple(edges), synchronous)


def graph_edges(spec: GraphSpec, M: int, seed: int) -> Edges:
    """Edges a < b of a graph of M agents, in the order of their games. Not for `together` and `random-pairs`."""
    import networkx as nx

    if spec.kind == "complete":
        graph = nx.complete_graph(M)
    elif spec.kind == "ring":
        graph = nx.cycle_graph(M) if M > 2 else nx.path_graph(M)
    elif spec.kind == "star":
        graph = nx.star_graph(M - 1)
    elif spec.kind == "small-world":
        if M < 6:
            raise UsageError(f"--meet {spec} requires --agents 6 or more; --agents is {M}")
        # networkx accepts seeds of 32 bits.
        graph = nx.connected_watts_strogatz_graph(M, 4, spec.number, seed=seed % 2**32)
    elif spec.kind == "bridges":
        graph = _bridged(M, int(spec.number), spec.text)
    else:
        graph = _from_file(Path(spec.text), M)
    return _colouring_order((min(a, b), max(a, b)) for a, b in graph.edges)


def _colouring_order(edges: Iterable[tuple[int, int]]) -> Edges:
    """Sort edges by a greedy edge colouring. Edges of one colour share no agent, so their games can be batched."""
    coloured: list[tuple[int, int, int]] = []
    used: dict[int, int] = {}  # by agent: bits of the colours of its edges
    for a, b in sorted(edges):
        free = ~(used.get(a, 0) | used.get(b, 0))
        bit = free & -free  # the first colour free at both agents
        used[a], used[b] = used.get(a, 0) | bit, used.get(b, 0) | bit
        coloured.append((bit.bit_length(), a, b))
    return tuple((a, b) for _, a, b in sorted(coloured))


def pairs_by_distance(edges: Edges, M: int) -> dict[int, list[tuple[int, int]]]:
    """Pairs of agents by their distance in the graph, in ascending order. Unconnected pairs are left out."""
    import networkx as nx

    graph = nx.Graph(edges)
    pairs: dict[int, list[tuple[int, int]]] = {}
    for a, lengths in nx.all_pairs_shortest_path_length(graph):
        for b, length in lengths.items():
            if a < b:
                pairs.setdefault(length, []).append((a, b))
    return dict(sorted(pairs.items()))


def _bridged(M: int, count: int, meet: str) -> Any:
    import networkx as nx

    half = M // 2
    if M < 4 or count > half * (M - half):
        raise UsageError(
            f"--meet {meet} requires --agents 4 or more, and at most one bridge for each pair between the groups; "
            f"--agents is {M}"
        )
    graph = nx.disjoint_union(nx.complete_graph(half), nx.complete_graph(M - half))
    # Every bridge connects agents without a bridge, as long as there are any.
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
        if not path.is_file() or size > _MAX_FILE_BYTES:
            raise UsageError(f"--meet {path}: expected a file of edges with at most {_MAX_FILE_BYTES} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            f"--meet is {str(path)!r}, but there is no such file; expected {', '.join(GRAPHS)}, or a file of edges"
            f"{suggestion(str(path), GRAPHS)}"
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
                f"{path}, line {number} is {line.strip()[:60]!r}; expected two different agents from "
                f"{next(iter(numbers))} to {list(numbers)[-1]}"
            )
        graph.add_edge(*(numbers[name] for name in names))
    if not graph.edges:
        raise UsageError(f"{path} holds no edges")
    return graph
