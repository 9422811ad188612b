"""Scores of a language: messages of several words about objects with several attributes.

`messages` (N, S) and `attributes` (N, A) are integers. The same objects have the same attributes. No score depends on
the numbers of words.

    topsim        Spearman correlation of the Hamming distance of attributes and the edit distance of messages, over
                  all pairs of objects (Brighton and Kirby 2006)
    posdis        over slots, the mean of (I_1 - I_2) / H: I_1 and I_2 are the largest two mutual informations of the
                  word in the slot with an attribute, H the entropy of the word (Chaabouni et al. 2020)
    bosdis        the same over words, with the number of times a word occurs in the message
    cbm           concept best matching (Carmeli et al. 2024): words are matched one to one with values of attributes,
                  so that most words of messages stand for a value of their object; the number of these words over
                  sum_n max(words, attributes)
    cbm_slots     the same, where a word in another slot is another word
    all_right     share of objects whose attributes all follow from the words, after the best one-to-one matching of
                  slots with attributes, and of the words of a slot with values
    entropy       of messages, in bits; entropy_words: of all words

With an end word, a message ends before the first one. Slots after it hold the end word for posdis; it is no word for
the other scores.

Slots and words that never vary are left out of posdis and bosdis. Where nothing varies, topsim, posdis and bosdis are
0/0, NaN, as EGG and emlangkit define them. Their values agree with the package emlangkit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhng.experiment.metrics.partitions import contingency, match

Ints = NDArray[np.int64]

# Objects beyond these are left out of topsim: it compares all pairs.
_TOPSIM_OBJECTS = 2000


class Decoder(NamedTuple):
    """Words matched with values, fitted on some objects: slot of each attribute, and value of each word in it."""

    slots: tuple[int, ...]  # (A,); -1 for an attribute without a slot
    values: tuple[Ints, ...]  # (V,) each; -1 for a word without a value

    def decode(self, messages: ArrayLike) -> Ints:
        """The attributes (N, A) that messages (N, S) tell; -1 where they tell nothing."""
        messages = np.asarray(messages)
        told = np.full((len(messages), len(self.slots)), -1, dtype=np.int64)
        for a, (slot, values) in enumerate(zip(self.slots, self.values, strict=True)):
            if slot >= 0:
                words = messages[:, slot]
                known = words < len(values)
                told[known, a] = values[words[known]]
        return told


def language(messages: ArrayLike, attributes: ArrayLike, *, end: int | None = None) -> dict[str, Any]:
    """Scores of messages (N, S) about objects with attributes (N, A). end: the end-of-sentence word, if there is one.

    Returns the scores above, each attribute's share of right values, the number of different messages and the mean
    number of words. Raises ValueError for arrays that do not fit.
    """
    messages, attributes = checked(messages, attributes)
    lengths = message_lengths(messages, end)
    said = np.arange(messages.shape[1]) < lengths[:, None]
    if end is not None:
        messages = np.where(said, messages, end)
    right = fit_decoder(messages, attributes).decode(messages) == attributes
    counts = np.unique(messages, axis=0, return_counts=True)[1]
    return {
        "topsim": topsim(messages, attributes, end=end),
        "posdis": posdis(messages, attributes),
        "bosdis": bosdis(messages, attributes, end=end),
        "cbm": cbm(messages, attributes, end=end),
        "cbm_slots": cbm(messages, attributes, end=end, by_slot=True),
        "all_right": float(right.all(1).mean()),
        "right": right.mean(0).tolist(),
        "messages": len(counts),
        "entropy": _bits(counts),
        "entropy_words": _bits(np.unique(messages[said], return_counts=True)[1]),
        "length": float(lengths.mean()),
    }


def message_lengths(messages: Ints, end: int | None) -> Ints:
    """The number of words before the first end word: (N, S) -> (N,)."""
    N, S = messages.shape
    if end is None:
        return np.full(N, S)
    ended = messages == end
    return np.where(ended.any(1), ended.argmax(1), S)


def checked(messages: ArrayLike, attributes: ArrayLike) -> tuple[Ints, Ints]:
    """Messages (N, S) and attributes (N, A) as whole numbers >= 0. Raises ValueError."""
    arrays = []
    for name, values in (("messages", messages), ("attributes", attributes)):
        array = np.asarray(values)
        if array.ndim != 2 or not array.size:
            raise ValueError(f"{name} have the shape {array.shape}; expected (objects, parts), none of them 0")
        if array.dtype.kind not in "iub" or array.min() < 0:
            raise ValueError(f"{name} are {array.dtype} from {array.min()}; expected whole numbers from 0 on")
        arrays.append(array.astype(np.int64))
    if len(arrays[0]) != len(arrays[1]):
        raise ValueError(
            f"messages are of {len(arrays[0])} objects and attributes of {len(arrays[1])}; expected equal"
        )
    return arrays[0], arrays[1]


def topsim(messages: ArrayLike, attributes: ArrayLike, *, end: int | None = None) -> float:
    """Topographic similarity, for the first 2,000 objects."""
    from scipy.spatial.distance import pdist
    from scipy.stats import rankdata

    messages, attributes = checked(messages, attributes)
    messages, attributes = messages[:_TOPSIM_OBJECTS], attributes[:_TOPSIM_OBJECTS]
    distances = edit_distances(messages, end), np.rint(pdist(attributes, "hamming") * attributes.shape[1])
    if any(not distance.size or np.ptp(distance) == 0 for distance in distances):
        return float("nan")
    first, second = (rankdata(distance) for distance in distances)
    return float(np.corrcoef(first, second)[0, 1])


def edit_distances(messages: Ints, end: int | None = None) -> NDArray[np.float64]:
    """Levenshtein distances of all pairs of messages (N, S), in the order of scipy's pdist."""
    i, j = np.triu_indices(len(messages), 1)
    S, lengths = messages.shape[1], message_lengths(messages, end)
    row = [np.full(len(i), s, dtype=np.int16) for s in range(S + 1)]
    result = _at(row, lengths[j])  # where message i has no words
    for s in range(S):
        above, row = row, [row[0] + 1]
        for t in range(S):
            substituted = above[t] + (messages[i, s] != messages[j, t])
            row.append(np.minimum(substituted, 1 + np.minimum(above[t + 1], row[t])))
        result = np.where(lengths[i] == s + 1, _at(row, lengths[j]), result)
    return result.astype(np.float64)


def _at(row: list[NDArray[Any]], lengths: Ints) -> NDArray[Any]:
    """For each pair, the entry of `row` with the number of its length."""
    return np.stack(row)[lengths, np.arange(len(lengths))]


def posdis(messages: ArrayLike, attributes: ArrayLike) -> float:
    """Positional disentanglement."""
    messages, attributes = checked(messages, attributes)
    return _disentanglement(list(messages.T), attributes)


def bosdis(messages: ArrayLike, attributes: ArrayLike, *, end: int | None = None) -> float:
    """Bag-of-symbols disentanglement: over the words that occur."""
    messages, attributes = checked(messages, attributes)
    said = np.arange(messages.shape[1]) < message_lengths(messages, end)[:, None]
    words = np.unique(messages[said])
    return _disentanglement([((messages == word) & said).sum(1) for word in words], attributes)


def cbm(messages: ArrayLike, attributes: ArrayLike, *, end: int | None = None, by_slot: bool = False) -> float:
    """Concept best matching. by_slot: a word in another slot is another word."""
    messages, attributes = checked(messages, attributes)
    lengths = message_lengths(messages, end)
    N, A = attributes.shape
    words = messages + by_slot * np.arange(messages.shape[1]) * (messages.max() + 1)
    said = np.nonzero(np.arange(messages.shape[1]) < lengths[:, None])
    in_message = np.zeros((N, int(words.max()) + 1), dtype=np.int64)
    in_message[said[0], words[said]] = 1
    codes = [np.unique(values, return_inverse=True)[1] for values in attributes.T]
    table = np.concatenate([in_message.T @ np.eye(values.max() + 1, dtype=np.int64)[values] for values in codes], 1)
    return float(table[match(table)].sum() / np.maximum(lengths, A).sum())


def fit_decoder(messages: ArrayLike, attributes: ArrayLike) -> Decoder:
    """Match slots with attributes and words with values one to one (Hungarian method), on the objects given."""
    messages, attributes = checked(messages, attributes)
    S, A = messages.shape[1], attributes.shape[1]
    tables = [[contingency(messages[:, s], attributes[:, a]) for a in range(A)] for s in range(S)]
    gain = np.array([[table[match(table)].sum() for table in row] for row in tables])
    best = np.full(A, -1)  # without a slot, if there are fewer slots than attributes
    slots, matched = match(gain)
    best[matched] = slots
    values = []
    for a, s in enumerate(best.tolist()):
        values.append(np.full(int(messages.max()) + 1, -1, dtype=np.int64))
        if s >= 0:
            rows, columns = match(tables[s][a])
            values[a][rows] = columns
    return Decoder(tuple(best.tolist()), tuple(values))


def _disentanglement(symbols: list[Ints], attributes: Ints) -> float:
    """Mean over symbols of the gap between their two largest mutual informations with an attribute, over entropy."""
    scores = []
    for symbol in symbols:
        entropy = _entropy(np.unique(symbol, return_counts=True)[1])
        shared = sorted(_mutual_information(contingency(symbol, column)) for column in attributes.T)
        second = shared[-2] if len(shared) > 1 else 0.0
        if entropy > 1e-12:
            scores.append((shared[-1] - second) / entropy)
    return float(np.mean(scores)) if scores else float("nan")


def _mutual_information(table: Ints) -> float:
    return _entropy(table.sum(1)) + _entropy(table.sum(0)) - _entropy(table.ravel())


def _entropy(counts: Ints) -> float:
    """Entropy in nats of counts."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


def _bits(counts: Ints) -> float:
    return _entropy(counts) / float(np.log(2))
