"""Captions of the synthetic corpora: templates, each of one split of one corpus, filled with words for a
style.

A template has the slots {who} (the speaker, with sex and age where named), {phrases} ("at a slow pace and
in a sad tone"), {clauses} ("her pace is slow and her tone is sad"), {nouns} ("a slow pace and a sad tone")
and {quote} (what is said). Any set of attributes fits any slot, so a caption can name any part of what is
known.
"""

import re
from collections.abc import Mapping, Sequence
from random import Random

from raclap.corpora import synthetic_words as words

# Attributes in the order in which `Caption.names` lists them.
ATTRIBUTES = ("sex", "age", "pitch", "speed", "volume", "emotion", "texture")
_SPEAKER = ("sex", "age")

# Corpus -> split -> how a caption may open, and how it may go on.
_PARTS = {
    "prompt_like": {
        "train": (
            ("", "in this recording, ", "here, ", "in this clip, ", "in the audio, "),
            (
                "{who} speaks {phrases}",
                "{who} is talking {phrases}",
                "{who} says something {phrases}",
                "{who} has {nouns}",
                "{who} is speaking, and {clauses}",
            ),
        ),
        "validation": (
            ("on this tape, ", "as can be heard, ", ""),
            (
                "{who} reads aloud {phrases}",
                "{who} utters a sentence {phrases}",
                "the voice of {who} has {nouns}",
            ),
        ),
        "test": (
            ("this time, ", "listen: ", ""),
            (
                "{who} talks {phrases}",
                "{who} tells us something {phrases}",
                "the speech of {who} shows {nouns}",
            ),
        ),
    },
    "textrol_like": {
        "train": (
            ("", "you can hear that ", "it seems that ", "as the clip plays, ", "in this sample, "),
            (
                "{who} delivers a line {phrases}",
                "{who} expresses something {phrases}",
                "{who} addresses us {phrases}",
                "{who} says a sentence, and {clauses}",
                "{who} talks with {nouns}",
            ),
        ),
        "validation": (
            ("", "judging by the sound, ", "in the present clip, "),
            (
                "{who} makes a statement {phrases}",
                "{who} gives a remark with {nouns}",
                "{who} can be heard: {clauses}",
            ),
        ),
        "test": (
            ("", "from what we hear, ", "in the following clip, "),
            (
                "{who} pronounces a sentence {phrases}",
                "{who} shares a thought with {nouns}",
                "there is {who} talking; {clauses}",
            ),
        ),
    },
    "craft_like": {
        "train": (
            (
                "{who} says {quote} {phrases}. ",
                "{who} utters the words {quote} {phrases}. ",
                "the words {quote} are spoken by {who} {phrases}. ",
                "{who} can be heard saying {quote} {phrases}. ",
                "the sentence {quote} comes from {who}, {phrases}. ",
            ),
            (
                "{clauses}",
                "throughout, {clauses}",
                "all the while, {clauses}",
                "one notices that {clauses}",
                "at the same time, {clauses}",
            ),
        ),
        "validation": (
            (
                "{who} remarks {quote} {phrases}. ",
                "{quote} is what {who} says {phrases}. ",
                "{who} is recorded saying {quote} {phrases}. ",
            ),
            ("the listener hears {nouns}", "it is clear that {clauses}", "meanwhile, {clauses}"),
        ),
        "test": (
            (
                "{who} speaks the line {quote} {phrases}. ",
                "the line {quote} is said by {who} {phrases}. ",
                "{who} states {quote} {phrases}. ",
            ),
            ("the recording has {nouns}", "what is more, {clauses}", "as one hears, {clauses}"),
        ),
    },
}

TEMPLATES: dict[str, dict[str, tuple[str, ...]]] = {
    corpus: {
        split: tuple(opening + body for opening in openings for body in bodies)
        for split, (openings, bodies) in splits.items()
    }
    for corpus, splits in _PARTS.items()
}


# Split -> templates that say nothing of the manner of speaking, and those with one slot for it.
PLAIN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "train": (
        (
            "{who} is speaking",
            "this is the voice of {who}",
            "one hears {who}",
            "the speaker is {who}",
            "{who} talks in this sample",
        ),
        TEMPLATES["textrol_like"]["train"],
    ),
    "validation": (
        ("{who} can be heard", "the clip has the voice of {who}", "it is {who} who speaks"),
        TEMPLATES["textrol_like"]["validation"],
    ),
    "test": (
        ("{who} says something", "the recording is of {who}", "we listen to {who}"),
        TEMPLATES["textrol_like"]["test"],
    ),
}


def describe(
    template: str,
    style: Mapping[str, str],
    names: Sequence[str],
    *,
    quote: str,
    rng: Random,
) -> str:
    """Writes a caption.

    Args:
        template: of `TEMPLATES`.
        style: the attributes known of the clip.
        names: those the caption is to name; beside sex and age at least one for each slot of the template.
        quote: what is said.
        rng: chooses the words.
    """
    named = {name: style[name] for name in names}
    slots = [slot for slot in words.FRAMES if f"{{{slot}}}" in template]
    shares = _shares([name for name in names if name not in _SPEAKER], len(slots), rng)
    writer = _Writer(template, words.PRONOUNS[named.get("sex")], rng)
    filled = {
        slot: _listed([writer.part(slot, name, named[name]) for name in share], rng)
        for slot, share in zip(slots, shares, strict=True)
    }
    who = _person(named, "age" in style, rng)
    return _sentences(template.format(who=who, quote=f'"{quote}"', **filled))


class _Writer:
    """Writes the parts of one caption and remembers which heads it has used, the template's own among
    them."""

    def __init__(self, template: str, pronouns: tuple[str, str], rng: Random) -> None:
        self._pronouns = pronouns
        self._rng = rng
        self._used = set(re.findall(r"\w+", template))

    def part(self, slot: str, name: str, value: str) -> str:
        """What a slot says of one attribute."""
        kind, frame = self._frame(slot, name, value)
        word = self._rng.choice(words.WORDS[kind][name][value])
        pronoun, own = self._pronouns
        return frame.format(an=_with_article(word), word=word, pronoun=pronoun, own=own)

    def _frame(self, slot: str, name: str, value: str) -> tuple[str, str]:
        heads = words.FRAMES[slot][name]
        fitting = [head for head, (kind, _) in heads.items() if value in words.WORDS[kind].get(name, {})]
        fresh = [head for head in fitting if head not in self._used]
        head = self._rng.choice(fresh or fitting)
        self._used.add(head)
        kind, frames = heads[head]
        return kind, self._rng.choice(frames)


def _shares(names: list[str], count: int, rng: Random) -> list[list[str]]:
    """Deals the names out to the slots, two at most, in random order, one at least to each."""
    shuffled = rng.sample(names, len(names))
    cut = len(names) if count < 2 else rng.randint(1, len(names) - 1)
    return [shuffled[:cut], shuffled[cut:]][:count]


def _person(named: Mapping[str, str], knows_age: bool, rng: Random) -> str:
    sex, age = named.get("sex"), named.get("age")
    ageless = sex is not None and not knows_age
    return rng.choice(words.PERSONS_OF_NO_AGE[sex] if ageless else words.PERSONS[sex, age])


def _with_article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _listed(parts: Sequence[str], rng: Random) -> str:
    if len(parts) == 1:
        return parts[0]
    last = rng.choice((" and ", ", and ")) if len(parts) > 2 else " and "
    return ", ".join(parts[:-1]) + last + parts[-1]


def _sentences(text: str) -> str:
    """Capitals at the beginnings, full stop at the end."""
    first, stop, rest = text.partition(". ")
    parts = [first, rest] if stop else [first]
    return ". ".join(part[0].upper() + part[1:] for part in parts) + "."
