"""What the synthetic corpora say: plain statements that tell nothing of how they are said.

A predicate belongs to one split, so no split shares a sentence, nor most of its words, with another.
"""

from random import Random

_SUBJECTS = (
    "the baker",
    "my neighbour",
    "the museum guide",
    "our teacher",
    "the postman",
    "her cousin",
    "the gardener",
    "his uncle",
    "the new tenant",
    "the librarian",
    "my colleague",
    "the bus driver",
    "the farmer",
    "our landlord",
    "the second student",
    "the carpenter",
    "the tall cook",
    "the office clerk",
    "the pharmacist",
    "their daughter",
    "the tailor",
    "the young doctor",
    "the visitor",
    "the shopkeeper",
)

_PREDICATES = {
    "train": (
        "left the keys on the kitchen table",
        "carried two boxes into the hall",
        "painted the garden fence",
        "bought a basket of apples",
        "read a book about rivers",
        "parked the car behind the station",
        "sent a letter to the bank",
        "planted carrots near the wall",
        "opened a window on the upper floor",
        "put the blue cups on the shelf",
        "wrote a list of names",
        "walked across the old bridge",
        "met a friend at the market",
        "changed the tyres of the bicycle",
        "ordered soup and a slice of bread",
        "moved the chairs to the next room",
        "waited for the train to the coast",
        "repaired the lamp in the corridor",
        "picked up a parcel from the counter",
        "filled the bottles with water",
        "drew a map of the village",
        "watched the boats in the harbour",
        "cleaned the windows of the shop",
        "folded the sheets and the towels",
        "checked the price of the tickets",
        "took the dog to the park",
        "measured the length of the carpet",
        "collected stamps from many countries",
    ),
    "validation": (
        "counted the coins in the drawer",
        "rented a flat above the bakery",
        "sewed a button on the coat",
        "copied the report for the meeting",
        "hung a picture in the entrance",
        "swept the leaves from the path",
        "learned the names of the stars",
        "packed a suitcase for the journey",
    ),
    "test": (
        "sold the piano to a school",
        "cooked rice with green beans",
        "wrapped the plates in newspaper",
        "borrowed a ladder from the firemen",
        "washed the wool jumper by hand",
        "sharpened the pencils for the class",
        "climbed the hill behind the church",
        "fetched some wood for the stove",
        "typed the address on the form",
        "cut the paper into narrow strips",
    ),
}

_TIMES = (
    "",
    "this morning",
    "after lunch",
    "on Monday",
    "before noon",
    "in the spring",
    "last week",
    "on the way home",
    "at the end of May",
    "yesterday",
    "two days ago",
    "in the evening",
)


def sentences(split: str) -> list[str]:
    """All sentences of a split, in a fixed order."""
    return [
        _sentence(subject, predicate, time)
        for subject in _SUBJECTS
        for predicate in _PREDICATES[split]
        for time in _TIMES
    ]


def draw_sentences(split: str, count: int, rng: Random) -> list[str]:
    """Draws sentences of a split; none comes twice before all have come."""
    pool = sentences(split)
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += rng.sample(pool, min(len(pool), count - len(drawn)))
    return drawn


def _sentence(subject: str, predicate: str, time: str) -> str:
    text = " ".join(part for part in (subject, predicate, time) if part)
    return text[0].upper() + text[1:] + "."
