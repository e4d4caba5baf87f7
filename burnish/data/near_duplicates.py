"""Texts that say almost the same: clusters of texts whose character 5-grams overlap by a Jaccard index of 0.8 or more.

MinHash proposes pairs, the exact Jaccard index decides, connected components make the clusters. The result depends on
the set of texts and not on their order. Shapes: N texts, U distinct texts, G 5-grams, P pairs.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

WIDTH = 5  # characters of a gram: shorter ones are shared by unrelated texts, longer ones miss a changed word
BANDS, ROWS = 20, 5  # a pair at 0.8 is proposed with probability 1 - (1 - 0.8**5)**20 = 0.9997, one at 0.3 with 0.05
WINDOW = 8  # neighbours in a bucket that a text is compared with: all of them in buckets of up to nine texts
CHUNK = 1 << 16  # characters worked on at a time: larger arrays leave the processor's cache
PAIRS = 1 << 14  # pairs looked at at a time
_MASK40 = np.uint64((1 << 40) - 1)
_EMPTY = np.empty((0, 2), np.int64)


def near_duplicate_clusters(texts: Sequence[str], *, threshold: float = 0.8) -> Array:
    """The cluster of each text: (N,) int64, the index of the first text of its cluster.

    Texts are compared after NFC, without case, each run of whitespace as one space. Two texts share a cluster when a
    chain of pairs with a Jaccard index of at least `threshold` joins them; the index is over the sets of their
    character 5-grams, and a text under five characters is one gram.

    Args:
        texts: any texts, empty ones and one-letter ones included.
        threshold: 0.5..1. Pairs at the threshold itself are found with a probability of 0.9997 at 0.8, 0.98 at 0.7
            and 0.47 at 0.5.

    Source: Broder 1997 (MinHash); Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4 (banding).
    Cost: linear in characters, about 35 seconds and 450 MB per million texts of 100 characters on one core.
    """
    forms = list(map(comparable, texts))
    digests = np.fromiter(map(_digest, forms), np.uint64, len(forms))  # two of 1 M texts collide with p = 3e-8
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    distinct = [forms[index] for index in first]
    del forms
    component = _components(distinct, threshold)
    earliest = np.full(len(distinct), len(texts))
    np.minimum.at(earliest, component, first)
    return np.asarray(earliest[component][inverse], dtype=np.int64)


def comparable(text: str) -> str:
    """The form in which texts are compared: NFC, without case, each run of whitespace one space.

    >>> comparable(" Where  IS\\tmy card? ")
    'where is my card?'
    """
    normal = text if text.isascii() else unicodedata.normalize("NFC", text)
    return " ".join(normal.split()).casefold()


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _components(distinct: Sequence[str], threshold: float) -> Array:
    """(U,) the connected component of each distinct text."""
    count = len(distinct)
    if count < 2:
        return np.arange(count)
    keys_BU, bytes_UK = _signatures(distinct)
    component_U = np.arange(count)
    # The share of equal signature bytes is within 0.2 (five standard deviations) of the Jaccard index.
    enough = int((threshold - 0.2) * BANDS * ROWS)
    for band in range(BANDS):
        for pairs_P2 in _neighbours(keys_BU[band], keys_BU[(band + 1) % BANDS]):
            apart = component_U[pairs_P2[:, 0]] != component_U[pairs_P2[:, 1]]
            likely_P2 = _with_like_signatures(pairs_P2[apart], bytes_UK, enough)
            found_P2 = _really_alike(likely_P2, distinct, threshold)
            component_U = _joined(component_U, found_P2)
    return component_U


def _joined(component_U: Array, pairs_P2: Array) -> Array:
    """The components after linking pairs of texts; each is called by its lowest number.

    Every component takes the lowest name among its neighbours, names of names are followed to their end, until no
    pair is apart: rounds grow with the logarithm of a chain's length, and need nothing but numpy.
    """
    while True:
        one_P, other_P = component_U[pairs_P2[:, 0]], component_U[pairs_P2[:, 1]]
        if np.array_equal(one_P, other_P):
            return component_U
        lower_P = np.minimum(one_P, other_P)
        name_U = np.arange(len(component_U))
        np.minimum.at(name_U, one_P, lower_P)
        np.minimum.at(name_U, other_P, lower_P)
        while not np.array_equal(further_U := name_U[name_U], name_U):
            name_U = further_U
        component_U = name_U[component_U]


def _signatures(texts: Sequence[str]) -> tuple[Array, Array]:
    """Band keys (BANDS, U) uint32, and one byte of each of the K = BANDS * ROWS minima, (U, K)."""
    factors_K = np.random.default_rng(0).integers(1 << 31, size=BANDS * ROWS, dtype=np.uint32) * 2 + 1
    keys_BU = np.empty((BANDS, len(texts)), np.uint32)
    bytes_UK = np.empty((len(texts), BANDS * ROWS), np.uint8)
    for start, end in _chunks(texts):
        grams_G, offsets = _grams(texts[start:end])
        low_G = (grams_G >> np.uint64(32)).astype(np.uint32)
        product_G = np.empty_like(low_G)
        minima_KU = np.empty((BANDS * ROWS, end - start), np.uint32)
        for column, factor in enumerate(factors_K):
            np.multiply(low_G, factor, out=product_G)  # an odd factor permutes the 32-bit numbers
            np.minimum.reduceat(product_G, offsets, out=minima_KU[column])
        mixed_KU = _mixed(minima_KU.astype(np.uint64))
        bytes_UK[start:end] = (mixed_KU >> np.uint64(56)).T
        powers = np.uint64(31) ** np.arange(ROWS, dtype=np.uint64)
        folded_BU = (mixed_KU.reshape(BANDS, ROWS, -1) * powers[:, None]).sum(axis=1, dtype=np.uint64)
        keys_BU[:, start:end] = _mixed(folded_BU) >> np.uint64(32)
    return keys_BU, bytes_UK


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges of texts of about CHUNK characters together; a longer text is a chunk of its own."""
    start = size = 0
    for index, text in enumerate(texts):
        size += max(WIDTH, len(text))
        if size >= CHUNK or index + 1 == len(texts):
            yield start, index + 1
            start, size = index + 1, 0


def _grams(texts: Sequence[str]) -> tuple[Array, Array]:
    """A 64-bit hash of every 5-gram of the texts, text after text, and where each text starts."""
    padded = [text if len(text) >= WIDTH else text.ljust(WIDTH, "\0") for text in texts]
    lengths = np.fromiter(map(len, padded), np.int64, len(padded))
    points = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32)
    count = len(points) - WIDTH + 1
    hashes = points[:count].astype(np.uint64)
    for shift in range(1, WIDTH):
        hashes *= np.uint64(1_114_117)  # the first prime above every code point
        hashes += points[shift : shift + count]
    inside = np.ones(len(points), bool)
    ends = np.cumsum(lengths)
    for back in range(1, WIDTH):
        inside[ends - back] = False  # grams that would reach into the next text
    offsets = np.concatenate([[0], np.cumsum(lengths - WIDTH + 1)[:-1]])
    return _mixed(hashes[inside[:count]]), offsets


def _mixed(values: Array) -> Array:
    """Scatters 64-bit numbers; the finaliser of MurmurHash3 (Appleby, public domain)."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> np.uint64(33)
    return values


def _neighbours(key_U: Array, next_key_U: Array) -> Iterator[Array]:
    """Pairs (P, 2) of texts with the same key, one distance in their bucket after the other.

    Within a bucket the next band's key decides the order, so that the most alike stand side by side.
    """
    order = np.argsort(key_U)
    again = key_U[order][1:] == key_U[order][:-1]
    order = order[np.append(again, False) | np.insert(again, 0, False)]
    order = order[np.lexsort((order, next_key_U[order], key_U[order]))]
    sorted_keys = key_U[order]
    for distance in range(1, min(WINDOW + 1, len(order))):
        same = np.flatnonzero(sorted_keys[distance:] == sorted_keys[:-distance])
        if not len(same):
            return
        yield np.stack([order[same], order[same + distance]], axis=1)


def _with_like_signatures(pairs_P2: Array, bytes_UK: Array, enough: int) -> Array:
    kept = [_EMPTY]
    for start in range(0, len(pairs_P2), PAIRS):
        part = pairs_P2[start : start + PAIRS]
        equal = (bytes_UK[part[:, 0]] == bytes_UK[part[:, 1]]).sum(axis=1)
        kept.append(part[equal >= enough])
    return np.concatenate(kept)


def _really_alike(pairs_P2: Array, texts: Sequence[str], threshold: float) -> Array:
    """The pairs whose Jaccard index reaches the threshold."""
    kept = [_EMPTY]
    size = np.array([len(texts[a]) + len(texts[b]) for a, b in pairs_P2.tolist()], np.int64).cumsum()
    start = 0
    while start < len(pairs_P2):
        before = size[start - 1] if start else 0
        end = max(start + 1, min(start + PAIRS, int(np.searchsorted(size, before + CHUNK))))
        part = pairs_P2[start:end]
        kept.append(part[jaccard([texts[i] for i in part[:, 0]], [texts[i] for i in part[:, 1]]) >= threshold])
        start = end
    return np.concatenate(kept)


def jaccard(left: Sequence[str], right: Sequence[str]) -> Array:
    """(P,) the Jaccard index of the character 5-grams of each pair of texts, as they are, 0..1.

    >>> jaccard(["abcdefg"], ["abcdefh"])
    array([0.5])
    """
    sizes_left, keys_left = _distinct_grams(left)
    sizes_right, keys_right = _distinct_grams(right)
    everything = np.sort(np.concatenate([keys_left, keys_right]))
    shared = everything[1:][everything[1:] == everything[:-1]]
    common = np.bincount((shared >> np.uint64(40)).astype(np.int64), minlength=len(left))
    return np.asarray(common / (sizes_left + sizes_right - common))


def _distinct_grams(texts: Sequence[str]) -> tuple[Array, Array]:
    """How many different 5-grams each text has, and those of all texts as row << 40 | 40 bits of the gram."""
    grams, offsets = _grams(texts)
    row = np.repeat(np.arange(len(texts), dtype=np.uint64), np.diff(np.append(offsets, len(grams))))
    keys = np.sort((row << np.uint64(40)) | (grams & _MASK40))
    keys = keys[np.append(True, keys[1:] != keys[:-1])]
    return np.bincount((keys >> np.uint64(40)).astype(np.int64), minlength=len(texts)), keys
