"""Groups of tags: what a pair is tagged with, and how often each tag is found.

A tag is written `GROUP:TAG` (`intrinsic:deep`), since words such as "loud" are in two groups; one without a colon is
of no group. An attribute is a group as well, with one tag a clip: its value. So a recipe names `intrinsic` or
`emotion` alike.

Shapes: N rows of a manifest, M pairs of a row and a tag that it has.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raclap.data.manifest import Manifest
from raclap.errors import RecipeError

_ROWS = 65_536  # looked at together


def tags_in(group: str, tags: Sequence[str] | None, attributes: Mapping[str, str]) -> tuple[str, ...]:
    """Tags of one group that a pair has.

    Args:
        group: its name.
        tags: all tags of the pair.
        attributes: of the pair; without a tag of the group, the attribute of its name is the tag.

    Returns:
        Each tag once, without the group; nothing for a pair that is not tagged.

    >>> tags_in("intrinsic", ("intrinsic:deep", "intrinsic:old", "situational:loud"), {"emotion": "sad"})
    ('deep', 'old')
    >>> tags_in("emotion", ("intrinsic:deep",), {"emotion": "sad"})
    ('sad',)
    >>> tags_in("situational", ("intrinsic:deep", "situational"), {"emotion": "sad"})
    ()
    """
    start = f"{group}:"
    found = (tag.removeprefix(start) for tag in tags or () if tag.startswith(start))
    if written := tuple(dict.fromkeys(tag for tag in found if tag)):
        return written
    value = attributes.get(group)
    return (value,) if value else ()


@dataclass(frozen=True)
class TagGroup:
    """The tags of one group.

    Attributes:
        name: of the group.
        tags: sorted.
        counts: clips that have each.
    """

    name: str
    tags: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class TagEntries:
    """Which rows of a manifest have which tags of one group.

    Attributes:
        tags: K different ones, in the order of their codes.
        rows: (M,) int64, rising.
        codes: (M,) int64, of the tags that those rows have.
    """

    tags: tuple[str, ...]
    rows: np.ndarray
    codes: np.ndarray


def read_tag_groups(manifests: Sequence[Manifest], names: Sequence[str]) -> tuple[TagGroup, ...]:
    """Finds the tags of groups over all rows, as `tags_in` finds those of one pair.

    Raises:
        RecipeError: no row has a tag of a group, or all tags of a group are the same one.
    """
    return tuple(_read_group(manifests, name) for name in names)


def tag_entries(manifest: Manifest, name: str) -> TagEntries:
    """Finds the tags of one group in every row, as `tags_in` does, column by column."""
    codes: dict[str, int] = {}
    rows, tag_codes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number, table in enumerate(manifest.tables(_ROWS, ["tags", "attributes"])):
        found, of_rows = _entries_of(table, name, codes)
        rows.append(found + number * _ROWS)
        tag_codes.append(of_rows)
    return TagEntries(tuple(codes), np.concatenate(rows), np.concatenate(tag_codes))


def _read_group(manifests: Sequence[Manifest], name: str) -> TagGroup:
    counts: Counter[str] = Counter()
    for manifest in manifests:
        entries = tag_entries(manifest, name)
        clips = np.bincount(entries.codes, minlength=len(entries.tags)).tolist()
        counts.update(dict(zip(entries.tags, clips, strict=True)))
    if not counts:
        raise RecipeError(_unknown(manifests, name))
    if len(counts) == 1:
        raise RecipeError(
            f"the tag group '{name}' has one tag alone in {_named(manifests)}, '{next(iter(counts))}': there is "
            f"nothing to tell apart"
        )
    tags = tuple(sorted(counts))
    return TagGroup(name, tags, tuple(counts[tag] for tag in tags))


def _entries_of(table: pa.Table, name: str, codes: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one table and the codes of their tags; new tags are given codes."""
    start = f"{name}:"
    rows, values = _items(table["tags"])
    found, tag_codes = _encoded(values, lambda tag: tag.removeprefix(start) if tag.startswith(start) else "", codes)
    rows = rows[found]
    written = np.zeros(len(table), bool)
    written[rows] = True

    attribute_rows, items = _items(table["attributes"])
    names, values = items.flatten()
    is_named = pc.fill_null(pc.equal(names, name), False).to_numpy(zero_copy_only=False)
    is_named &= ~written[attribute_rows]
    found, value_codes = _encoded(values.filter(pa.array(is_named)), str, codes)
    rows = np.concatenate([rows, attribute_rows[is_named][found]])
    tag_codes = np.concatenate([tag_codes, value_codes])
    # A tag that a row has twice counts once.
    pairs = np.sort(rows * max(1, len(codes)) + tag_codes)
    return np.divmod(pairs[np.diff(pairs, prepend=-1) > 0], max(1, len(codes)))


def _items(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Items of a column of lists: the row of each, and the items, without those that are null."""
    column = column.combine_chunks()
    items, rows = column.flatten(), pc.list_parent_indices(column).to_numpy()
    known = items.is_valid()
    return rows[known.to_numpy(zero_copy_only=False)].astype(np.int64), items.filter(known)


def _encoded(values: pa.Array, tag_of: Callable[[str], str], codes: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Which values are tags, and their codes."""
    encoded = values.dictionary_encode()
    tags = [tag_of(value) if value else "" for value in encoded.dictionary.to_pylist()]
    numbers = np.array([codes.setdefault(tag, len(codes)) if tag else -1 for tag in tags], np.int64)
    indices = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    found = np.append(numbers, -1)[indices]
    return found >= 0, found[found >= 0]


def _unknown(manifests: Sequence[Manifest], name: str) -> str:
    groups, attributes = set(), set()
    for table in _tables(manifests):
        tags = pc.unique(_items(table["tags"])[1]).to_pylist()
        groups.update(tag.partition(":")[0] for tag in tags if ":" in tag)
        _, items = _items(table["attributes"])
        attributes.update(pc.unique(items.field("name")).to_pylist())
    attributes.discard(None)
    near = difflib.get_close_matches(name, sorted(groups | attributes), n=1)
    suggestion = f"; did you mean '{near[0]}'?" if near else ""
    return (
        f"no row of {_named(manifests)} has a tag '{name}:…' or an attribute '{name}'; there are the tag groups "
        f"{', '.join(sorted(groups)) or '(none)'} and the attributes {', '.join(sorted(attributes)) or '(none)'}"
        f"{suggestion}"
    )


def _tables(manifests: Sequence[Manifest]) -> Iterator[pa.Table]:
    for manifest in manifests:
        yield from manifest.tables(_ROWS, ["tags", "attributes"])


def _named(manifests: Sequence[Manifest]) -> str:
    return ", ".join(str(manifest.path) for manifest in manifests)
