"""Settings of sentences: the number of signs that they give, and combinations that are refused in one line."""

import pytest

from mhng.experiment.errors import UsageError
from mhng.experiment.settings.config import from_flags, to_flags, together
from mhng.experiment.settings.schema import Config


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
