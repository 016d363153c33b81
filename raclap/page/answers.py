"""From what people send to what they see; what is wrong with it is an answer too."""

import functools
from collections.abc import Callable, Mapping

from modeling_raclap.handler import BadRequestError
from raclap.page import markup
from raclap.page.scoring import PageModel
from raclap.page.uploads import read_clip, read_description, read_descriptions

_MOST_HITS = 6


def _in_a_sentence(answer: Callable[..., str]) -> Callable[..., str]:
    """Says what is wrong with a request where its answer would have been."""

    @functools.wraps(answer)
    def answered(*arguments: object) -> str:
        try:
            return answer(*arguments)
        except BadRequestError as error:
            return markup.sentence(str(error))

    return answered


class Answers:
    """Answers as HTML.

    Args:
        models: by name.
    """

    def __init__(self, models: Mapping[str, PageModel]):
        self._models = models

    @_in_a_sentence
    def judge(self, model: str, clip: str | None, descriptions: str) -> str:
        """Bars: how well descriptions, one a line, fit an uploaded clip."""
        texts = read_descriptions(descriptions)
        return markup.bars(self._models[model].judge(read_clip(clip), texts), self._title(model))

    @_in_a_sentence
    def find(self, model: str, description: str) -> str:
        """Players: the clips of the gallery that fit a description best."""
        found = self._models[model].find(read_description(description), _MOST_HITS)
        return markup.hits(found, self._title(model))

    @_in_a_sentence
    def more_like(self, model: str, number: int) -> str:
        """Players: the clips that sound most like one of the gallery."""
        liked, found = self._models[model].more_like(number, _MOST_HITS)
        return markup.hits(found, f"More like “{liked.title}”")

    def _title(self, model: str) -> str:
        """The name of a model, where there are several."""
        return model if len(self._models) > 1 else ""
