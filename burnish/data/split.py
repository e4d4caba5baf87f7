"""Train, validation and test parts that depend on what the rows say and not on their order."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from burnish.data.bundles import bundles
from burnish.data.clean import LABEL
from burnish.data.deduplicate import loose_form
from burnish.data.tags import kind_of
from burnish.types import Example, Row, Split

LABELS, TAGS = "labels", "tags"  # the canonical columns of rows with any number of labels, with a tag per token
TARGET = "target"  # of a table: a class, or a number where numbers are predicted

_FILLED_FIRST = (Split.TEST, Split.VALIDATION)
_ROUNDS = 4  # how often each bundle with several labels is placed; later rounds move next to nothing


@dataclass(slots=True)
class _Bundle:
    """Rows that stay together, the hash that places them, and how many of them have each label."""

    digest: bytes
    rows: list[int] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)


def split(
    examples: Sequence[Example],
    validation_ratio: float,
    test_ratio: float,
    seed: int,
    *,
    together: Sequence[int] | None = None,
    times: Sequence[float] | None = None,
) -> dict[Split, list[Example]]:
    """A partition of the rows, each part in their order, stratified by label or ordered by time.

    Within each class, bundles of rows that stay together are ordered by a hash keyed with the seed and given to test
    until its quota is full, then to validation, then to train: shuffling the file changes nothing. Each class keeps at
    least one row in train. Bundles with several labels come last, see `_place_mixed`.

    Args:
        examples: rows with one label, several (`labels`) or none.
        validation_ratio: share of the rows that validate, 0..1.
        test_ratio: share of the rows held back for the verdict, 0..1; both together under 1.
        seed: any whole number.
        together: equal numbers for rows of one bundle; None: rows with equal loose form.
        times: of each row; the newest rows test, the next newest validate, and labels are not looked at.
    """
    found = _collect(examples, bundles(examples) if together is None else together, seed)
    ratios = {Split.TEST: test_ratio, Split.VALIDATION: validation_ratio}
    if times is not None:
        part_of = _by_time(found, times, ratios)
    else:
        part_of = _place_pure([bundle for bundle in found if len(bundle.labels) == 1], ratios)
        part_of |= _place_mixed(found, part_of, ratios)
    parts: dict[Split, list[Example]] = {part: [] for part in Split}
    for index, example in enumerate(examples):
        parts[part_of[index]].append(example)
    return parts


def labels_in(row: Row) -> list[str]:
    """The label of a row, its class in a table, its labels, or the tag of each token; nothing without any."""
    for column in (LABEL, TARGET) if "features" in row else (LABEL,):  # elsewhere a target is a text to be written
        if isinstance(row.get(column), str):
            return [row[column]]
    return list(row.get(LABELS) or row.get(TAGS) or ())


def labels_of(example: Example) -> Sequence[str]:
    """The labels a row counts for: its own, or the kinds of things its tags mark; one empty label without any."""
    several = example.row.get(LABELS) or sorted({kind_of(tag) for tag in example.row.get(TAGS, ())} - {""})
    if several:
        return [str(label) for label in several]
    return labels_in(example.row) or [""]


def _collect(examples: Sequence[Example], together: Sequence[int], seed: int) -> list[_Bundle]:
    """The bundles, in the order of their digests: the smallest of the keyed hashes of their texts."""
    key = str(seed).encode()
    found: dict[int, _Bundle] = {}
    for index, (example, number) in enumerate(zip(examples, together, strict=True)):
        digest = hashlib.blake2b(loose_form(example.row).encode(), key=key, digest_size=16).digest()
        bundle = found.setdefault(number, _Bundle(digest))
        bundle.digest = min(bundle.digest, digest)
        bundle.rows.append(index)
        bundle.labels.update(labels_of(example))
    return sorted(found.values(), key=lambda bundle: bundle.digest)


def _place_pure(pure: Sequence[_Bundle], ratios: Mapping[Split, float]) -> dict[int, Split]:
    """Parts of the bundles with one label each: class by class, in the order of their digests, as long as they fit."""
    classes: defaultdict[str, list[_Bundle]] = defaultdict(list)
    for bundle in pure:
        classes[next(iter(bundle.labels))].append(bundle)
    sizes = {label: sum(len(bundle.rows) for bundle in classes[label]) for label in sorted(classes)}
    free, quotas = dict(sizes), {}
    for part in _FILLED_FIRST:
        quotas[part] = _quotas(sizes, ratios[part], free)
        free = {label: free[label] - quotas[part][label] for label in sizes}
    part_of: dict[int, Split] = {}
    for label in sizes:
        left = {part: quotas[part][label] for part in _FILLED_FIRST}
        for bundle in classes[label]:
            part = next((part for part, places in left.items() if places >= len(bundle.rows)), Split.TRAIN)
            if part in left:
                left[part] -= len(bundle.rows)
            part_of.update(dict.fromkeys(bundle.rows, part))
    return part_of


def _place_mixed(
    found: Sequence[_Bundle], part_of: Mapping[int, Split], ratios: Mapping[Split, float]
) -> dict[int, Split]:
    """Parts of the bundles with several labels, beside the placed ones with one.

    Large bundles first, then those with the rarest label; each goes where it worsens the fit least. Then each is taken
    out and placed again, which mends what could not be foreseen. A label never loses its last training row.

    Source: iterative stratification, Sechidis et al. 2011 (rarest label first, to the part that lacks it most), for
    bundles instead of rows.
    """
    whole = _Holdings()
    for bundle in found:
        whole.take(bundle)
    wanted = {**ratios, Split.TRAIN: 1.0 - sum(ratios.values())}
    held = {part: _Holdings() for part in Split}
    for bundle in found:
        if bundle.rows[0] in part_of:
            held[part_of[bundle.rows[0]]].take(bundle)
    mixed = [bundle for bundle in found if bundle.rows[0] not in part_of]
    mixed.sort(key=lambda b: (-len(b.rows), min(whole.labels[label] for label in b.labels), b.digest))
    chosen: dict[int, Split] = {}
    for bundle in mixed * _ROUNDS:
        if bundle.rows[0] in chosen:
            held[chosen[bundle.rows[0]]].take(bundle, sign=-1)
        growth = {
            part: held[part].growth(bundle, whole, wanted[part])
            for part in (Split if _spared(bundle, held, whole) else (Split.TRAIN,))
            if wanted[part] > 0
        }
        part = min(growth, key=growth.__getitem__)
        held[part].take(bundle)
        chosen.update(dict.fromkeys(bundle.rows, part))
    return chosen


def _spared(bundle: _Bundle, held: Mapping[Split, _Holdings], whole: _Holdings) -> bool:
    """Whether each label of a bundle would have rows left for train if the bundle went elsewhere."""
    return all(
        whole.labels[label] - sum(held[part].labels[label] for part in _FILLED_FIRST) > count
        for label, count in bundle.labels.items()
    )


@dataclass(slots=True)
class _Holdings:
    """What a part holds: rows, rows per label, and the sum of these (more than the rows when rows have several)."""

    rows: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    occurrences: int = 0

    def take(self, bundle: _Bundle, *, sign: int = 1) -> None:
        self.rows += sign * len(bundle.rows)
        for label, count in bundle.labels.items():
            self.labels[label] += sign * count
        self.occurrences += sign * bundle.labels.total()

    def growth(self, bundle: _Bundle, whole: _Holdings, ratio: float) -> float:
        """How much worse the part fits with a bundle more.

        The fit is, with n_l rows of label l among the part's R, and N_l among all N,

            sum over l of (n_l - R N_l / N)² / (ratio N_l)  +  (R - ratio N)² / (ratio N),

        that is, how far the shares of the labels and the size of the part are off; written out so that only the labels
        of the bundle are looked at.
        """
        rows, occurrences = self.rows + len(bundle.rows), self.occurrences + bundle.labels.total()
        squares = sum(n * (2 * self.labels[label] + n) / whole.labels[label] for label, n in bundle.labels.items())
        products = 2 * (rows * occurrences - self.rows * self.occurrences) / whole.rows
        means = (rows**2 - self.rows**2) * whole.occurrences / whole.rows**2
        size = (rows - self.rows) * (rows + self.rows - 2 * ratio * whole.rows) / whole.rows
        return (squares - products + means + size) / ratio


def _by_time(found: Sequence[_Bundle], times: Sequence[float], ratios: Mapping[Split, float]) -> dict[int, Split]:
    """The newest bundles test, the next newest validate, the others train; a bundle is as new as its newest row.

    So no training row is newer than a row that starts a later part, and a part may miss its size by half a bundle.
    """
    newest_first = sorted(found, key=lambda b: (-max(times[row] for row in b.rows), b.digest))
    row_count = sum(len(bundle.rows) for bundle in found)
    part_of: dict[int, Split] = {}
    filled, end, start = list(_FILLED_FIRST), 0.0, 0
    for bundle in newest_first:
        middle = start + len(bundle.rows) / 2
        while filled and middle > end + row_count * ratios[filled[0]]:
            end += row_count * ratios[filled.pop(0)]
        part_of.update(dict.fromkeys(bundle.rows, filled[0] if filled else Split.TRAIN))
        start += len(bundle.rows)
    return part_of


def _quotas(sizes: Mapping[str, int], ratio: float, available: Mapping[str, int]) -> dict[str, int]:
    """Rows each class gives: in all the ratio of all rows, rounded; largest remainders first; one row always stays.

    Source: largest remainder method (Hamilton apportionment).
    """
    quotas = {label: min(int(size * ratio), max(0, available[label] - 1)) for label, size in sizes.items()}
    missing = round(sum(sizes.values()) * ratio) - sum(quotas.values())
    able = [label for label in sizes if quotas[label] + 1 < available[label]]
    able.sort(key=lambda label: (quotas[label] - sizes[label] * ratio, -available[label], label))
    for label in able[: max(0, missing)]:
        quotas[label] += 1
    return quotas
