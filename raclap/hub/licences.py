"""What the licences of training data mean for a model, as far as that can be told from their names.

The readers in `raclap.corpora` write the names that stand here; a user's table may say anything, so spellings such as
"cc-by-4.0" are understood too. What is not known here is never guessed at: the card says so.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raclap.data.facts import NOT_STATED

OWN_LICENCE = "apache-2.0"  # of this package, and so of weights that no data restricts

# Those of Creative Commons that the Hub has a name for, by version.
_ON_THE_HUB = {
    "2.0": ("BY", "BY-NC", "BY-NC-SA"),
    "3.0": ("BY", "BY-SA", "BY-NC", "BY-NC-SA", "BY-NC-ND"),
    "4.0": ("BY", "BY-SA", "BY-NC", "BY-NC-SA", "BY-ND", "BY-NC-ND"),
}


@dataclass(frozen=True)
class Licence:
    """A licence of recordings.

    Attributes:
        name: as the card writes it.
        hub_id: how the Hub's metadata write it; None where the Hub knows no such licence.
        binds: whether it asks more than attribution of what is made from the data, so that weights take it over.
        commercial: whether commercial use is allowed; None where that is not known here.
        hand_on: whether a changed excerpt may be handed on, with attribution.
        url: where it can be read.
    """

    name: str
    hub_id: str | None = None
    binds: bool = True
    commercial: bool | None = None
    hand_on: bool = False
    url: str | None = None


def _creative_commons(kind: str, version: str = "4.0") -> Licence:
    conditions = kind.split("-")
    return Licence(
        name=f"CC {kind} {version}",
        hub_id=f"cc-{kind}-{version}".lower() if kind in _ON_THE_HUB[version] else None,
        binds=conditions != ["BY"],
        commercial="NC" not in conditions,
        hand_on="ND" not in conditions,
        url=f"https://creativecommons.org/licenses/{kind.lower()}/{version}/",
    )


def _research_only(owner: str) -> Licence:
    return Licence(f"{owner}: for research only", commercial=False)


CATALOGUE = (
    Licence(
        "CC0-1.0", "cc0-1.0", binds=False, commercial=True, hand_on=True,
        url="https://creativecommons.org/publicdomain/zero/1.0/",
    ),
    Licence("public domain", binds=False, commercial=True, hand_on=True),
    *(
        _creative_commons(kind, version)
        for version in _ON_THE_HUB
        for kind in ("BY", "BY-SA", "BY-NC", "BY-NC-SA", "BY-ND", "BY-NC-ND")
    ),
    # Weights are no database: of a work produced from one, ODbL (4.3) asks that it names the database.
    Licence(
        "ODbL 1.0 and DbCL 1.0", "odbl", binds=False, commercial=True, hand_on=True,
        url="https://opendatacommons.org/licenses/odbl/1-0/",
    ),
    Licence(
        "Apache-2.0", "apache-2.0", binds=False, commercial=True, hand_on=True,
        url="https://www.apache.org/licenses/LICENSE-2.0",
    ),
    Licence("MIT", "mit", binds=False, commercial=True, hand_on=True, url="https://opensource.org/license/mit"),
    _research_only("ESD"),
    _research_only("IEMOCAP"),
    _research_only("MEAD"),
    _research_only("SAVEE"),
    Licence("MSP-Podcast: licence agreement of The University of Texas at Dallas", commercial=False),
)  # fmt: skip


def find_licence(stated: str) -> Licence:
    """What is known of a licence by its name; case, spaces and hyphens do not count.

    Returns:
        One of `CATALOGUE`, or one of this name of which nothing is known.

    Example:
        >>> find_licence("cc-by-nc-sa-4.0").commercial
        False
        >>> find_licence("ask my aunt").commercial is None
        True
    """
    return _BY_NAME.get(_plain(stated)) or Licence(stated.strip())


@dataclass(frozen=True)
class WeightsLicence:
    """The licence of a model, as its corpora's licences leave it.

    Attributes:
        hub_id: for `license:` of the card; `other` where `name` says which, `unknown` where a corpus states none.
        name: for `license_name:`; None but with `other`.
        statements: what a person should know, a sentence each; the most restricting first.
    """

    hub_id: str
    name: str | None
    statements: tuple[str, ...]


def licence_of_weights(corpora: Mapping[str, Sequence[str]]) -> WeightsLicence:
    """The licence of weights that learned from corpora under these licences.

    Where all of them ask for attribution at most, it is that of the code. A single one that asks more is taken over.
    Several of those, or one that the Hub does not know, become `other`. Where a corpus states none it is unknown.

    Args:
        corpora: licences by corpus, as stated; none, or `NOT_STATED` among them: not stated.
    """
    known = {corpus: [find_licence(name) for name in names if name != NOT_STATED] for corpus, names in corpora.items()}
    unstated = [corpus for corpus, names in corpora.items() if not names or NOT_STATED in names]
    binding = {licence for licences in known.values() for licence in licences if licence.binds}
    hub_id, name = OWN_LICENCE, None
    if unstated or not corpora:
        hub_id = "unknown"
    elif len(binding) == 1 and next(iter(binding)).hub_id is not None:
        hub_id = next(iter(binding)).hub_id
    elif binding:
        hub_id, name = "other", "-and-".join(sorted(_slug(licence.name) for licence in binding))
    return WeightsLicence(hub_id, name, tuple(_statements(known, unstated)))


def _statements(known: Mapping[str, Sequence[Licence]], unstated: Sequence[str]) -> list[str]:
    closed = [
        f"{corpus} ({own.name})" for corpus, licences in known.items() for own in licences if own.commercial is False
    ]
    strange = [
        f"{corpus} ({own.name})" for corpus, licences in known.items() for own in licences if own.commercial is None
    ]
    said = []
    if closed:
        said.append(f"Non-commercial use only: trained on {_listed(closed)}.")
    if strange:
        said.append(f"Trained on {_listed(strange)}: what this licence allows is not known here; read it before use.")
    if unstated:
        said.append(
            f"The licence of {_listed(unstated)} is not stated, so that of the weights is unknown: ask its owner "
            f"before use."
        )
    return said


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _plain(name: str) -> str:
    """A name without what spellings differ in."""
    plain = re.sub(r"[^a-z0-9]+", "", name.lower())
    return plain.removesuffix("international").removesuffix("unported")


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


_BY_NAME = {_plain(name): licence for licence in CATALOGUE for name in (licence.name, licence.hub_id or licence.name)}
