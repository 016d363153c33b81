"""Answers as HTML: bars, players and sentences. Everything that people or models wrote is escaped."""

from collections.abc import Sequence
from html import escape

from raclap.page.scoring import DescriptionFit, Fit, Hit

CLIPS_AT = "clips"  # players ask for `clips/<number>`, see `server.py`


def sentence(text: str) -> str:
    """What went wrong, shown and read aloud where the answer would have been."""
    return f'<p class="rc-sentence" role="alert">{escape(text[:1].upper() + text[1:])}.</p>'


def hint(text: str) -> str:
    """What an area is for, until there is an answer."""
    return f'<p class="rc-hint">{escape(text)}</p>'


def bars(found: Sequence[DescriptionFit], title: str = "") -> str:
    """Descriptions and how well they fit, as a list of bars."""
    rows = "".join(
        f'<li class="rc-row"><div class="rc-words">{escape(one.description)}</div>{_bar(one.fit)}</li>'
        for one in found
    )
    return f'{_title(title)}<ol class="rc-list">{rows}</ol>{_legend([one.fit for one in found])}'


def hits(found: Sequence[Hit], title: str = "") -> str:
    """Clips that were found, each with a player, a bar and a button whose `data-number` is the clip's.

    Args:
        found: best first.
        title: above them; none where it is empty.
    """
    rows = "".join(_hit(place, hit) for place, hit in enumerate(found, start=1))
    return f'{_title(title)}<ol class="rc-list">{rows}</ol>{_legend([hit.fit for hit in found])}'


def _title(title: str) -> str:
    return f'<h3 class="rc-title">{escape(title)}</h3>' if title else ""


def _hit(place: int, hit: Hit) -> str:
    title = escape(hit.clip.title)
    facts = "".join(f"<span>{escape(fact)}</span>" for fact in hit.clip.facts)
    return (
        f'<li class="rc-row"><div class="rc-words"><b class="rc-place">{place}</b> {title}</div>'
        f'<div class="rc-facts">{facts}</div>{_bar(hit.fit)}<div class="rc-listen">'
        f'<audio controls preload="metadata" src="{CLIPS_AT}/{hit.number}" aria-label="{title}"></audio>'
        f'<button type="button" class="rc-more" data-number="{hit.number}" aria-label="More like: {title}">'
        "More like this</button></div></li>"
    )


def _bar(fit: Fit) -> str:
    """A bar as long as the probability, or as the cosine where there is none; the numbers stand beside it."""
    share = fit.cosine if fit.probability is None else fit.probability
    cosine = f"{fit.cosine:.2f}".replace("-", "−")
    value = cosine if fit.probability is None else f"{100 * fit.probability:.0f} %"
    small = "" if fit.percentile is None else f"cosine {cosine}, above {fit.percentile:.0f} % of random pairs"
    data = " ".join(f'data-{name}="{number:.6f}"' for name, number in vars(fit).items() if number is not None)
    return (
        f'<div class="rc-fit" {data}><div class="rc-track" aria-hidden="true">'
        f'<div class="rc-bar" style="width:{100 * min(1.0, max(0.0, share)):.1f}%"></div></div>'
        f'<b class="rc-value">{value}</b><span class="rc-small">{small}</span></div>'
    )


def _legend(fits: Sequence[Fit]) -> str:
    if all(fit.probability is not None for fit in fits):
        text = (
            "Bars: the probability that the description fits, where as many descriptions fit as do not. "
            "“Random pairs” are clips with descriptions of other clips."
        )
    else:
        text = "Bars: the cosine of the two embeddings, from 0 to 1. It is no probability."
    return f'<p class="rc-legend">{text}</p>'
