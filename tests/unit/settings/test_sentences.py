"""Settings of sentences: the number of signs that they give, and combinations that are refused in one line."""

from itertools import product

import pytest

from mhng.experiment.errors import UsageError
from mhng.experiment.settings.config import from_flags, to_flags, together
from mhng.experiment.settings.schema import ENGINES, Config
from mhng.inference import LISTENER_STATES, MODES, STARTS


def config(**flags: str) -> Config:
    return together(from_flags({"views": "0,45"} | flags))


def test_signs_are_the_sentences():
    assert config(words="3", vocabulary="4").signs == 64
    assert config(words="2").vocabulary == 10 and config(words="2").signs == 100
    made = config(words="2", vocabulary="5", meaning="bag", turns="word")
    again = together(from_flags(dict(word.removeprefix("--").split("=", 1) for word in _joined(to_flags(made)))))
    assert again == made and again.sentences == made.sentences


def _joined(flags: list[str]) -> list[str]:
    if all("=" in word for word in flags):
        return flags
    return [f"{name}={value}" for name, value in zip(flags[::2], flags[1::2], strict=True)]


def test_one_word_is_no_sentence():
    assert config(words="1") == config() and config().sentences is None


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"vocabulary": "5"}, "--words 2 or more"),
        ({"meaning": "bag"}, "--words 2 or more"),
        ({"start": "slots"}, "--start slots requires --words 2 or more"),
        ({"words": "4", "vocabulary": "90"}, "at most 1,000,000"),
        ({"words": "4", "vocabulary": "9", "meaning": "pairs"}, "--meaning pairs requires at most 4,096 sentences"),
        ({"words": "4", "vocabulary": "9", "grammar": "markov"}, "--grammar markov requires at most 4,096"),
        ({"words": "4", "vocabulary": "9", "turns": "sentence"}, "--turns sentence requires at most 4,096"),
        ({"words": "4", "vocabulary": "9", "start": "prior"}, "--start prior requires at most 4,096"),
        ({"signs": "10001"}, "--signs is 10001; expected 1 to 10000"),
        ({"words": "2", "vocabulary": "5", "signs": "10"}, "give 25 signs"),
        ({"words": "2", "mode": "variational"}, "--mode variational"),
        ({"words": "2", "listener_state": "speaker-sample"}, "--listener-state speaker-sample"),
        ({"words": "2", "start": "split"}, "--start split"),
        ({"words": "2", "weights": "dirichlet:1"}, "--weights dirichlet:1"),
        ({"words": "2", "mixture": "tied"}, "--mixture tied; pass --meaning"),
        ({"words": "2", "agent": ["B: --mixture tied"]}, "--mixture tied of agent B"),
        ({"words": "2", "engine": "ray"}, "--engine ray"),
        ({"words": "2", "split_merge": "1", "listener_state": "shared"}, "--split-merge 1"),
    ],
)
def test_what_sentences_do_not_support_is_refused(flags, named):
    with pytest.raises(UsageError, match=named) as caught:
        config(**flags)
    assert "\n" not in str(caught.value)


def test_starts_of_slots_are_a_default_of_sentences_only():
    assert config(dataset="mnist-numbers").start == "merge"
    assert config(dataset="mnist-numbers", words="2").start == "slots"


# Each setting of the game with its values; single signs support all of these values.
CELLS = {
    "mode": MODES,
    "engine": ENGINES,
    "listener_state": LISTENER_STATES,
    "weights": ("uniform", "dirichlet:1", "sticks:1"),
    "split_merge": ("0", "1"),
    "start": STARTS,
    "recursion": ("os", "ll:2", "exact"),
    "meet": ("together", "ring"),
}
SUPPORTED = {
    "mode": ("com", "no-com", "all", "gibbs"),
    "engine": ("local",),
    "listener_state": ("chain", "shared"),
    "weights": ("uniform",),
    "split_merge": ("0",),
    "start": ("prior", "kmeans", "merge", "slots"),
}


def test_every_game_is_accepted_or_refused_with_the_remedy():
    """The first setting that sentences do not support is named, with the values that they support."""
    flags = {"words": "2", "vocabulary": "3", "agents": "3", "views": "0,30,60"}
    for values in product(*list(CELLS.values())[:-2]):
        cell = dict(zip(CELLS, values, strict=False))
        wrong = {name: value for name, value in cell.items() if value not in SUPPORTED[name]}
        if not wrong:
            assert config(**flags | cell).sentences is not None
            continue
        with pytest.raises(UsageError) as caught:
            config(**flags | cell)
        said = str(caught.value)
        named = [name for name, value in wrong.items() if f"--{name.replace('_', '-')} {value}; expected" in said]
        assert said.startswith("--words 2 does not support ") and len(named) == 1
        assert said.count("\n") == 0 and all(value in said for value in SUPPORTED[named[0]])


@pytest.mark.parametrize("mode", MODES)
def test_graphs_and_recursions_of_sentences_are_those_of_single_signs(mode):
    """Sentences refuse what single signs refuse, with the same words, and nothing more."""

    def said(**flags: str) -> str | None:
        try:
            config(agents="3", views="0,30,60", mode=mode, **flags)
        except UsageError as error:
            return str(error)
        return None

    for state, recursion, meet in product(*(CELLS[name] for name in ("listener_state", "recursion", "meet"))):
        flags = {"listener_state": state, "recursion": recursion, "meet": meet}
        if mode in SUPPORTED["mode"] and state in SUPPORTED["listener_state"]:
            assert said(**flags, words="2") == said(**flags)
