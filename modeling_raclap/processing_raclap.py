"""One processor for both modalities: audio and text in, tensors and masks out. Never augmentation."""

from typing import Any

from transformers import BatchFeature, ProcessorMixin


class RaClapProcessor(ProcessorMixin):
    """A `RaClapFeatureExtractor` and the text tower's tokenizer.

    Args:
        feature_extractor: prepares speech.
        tokenizer: prepares captions.
    """

    def __init__(self, feature_extractor: Any, tokenizer: Any, **kwargs: Any):
        super().__init__(feature_extractor, tokenizer, **kwargs)

    def __call__(
        self,
        text: str | list[str] | None = None,
        audio: Any = None,
        sampling_rate: int | None = None,
        return_tensors: str | None = "pt",
        prepared: bool = False,
        audio_kwargs: dict[str, Any] | None = None,
        **_: Any,
    ) -> BatchFeature:
        """Prepares captions, clips or both, one or many.

        Args:
            text: a caption or a list of captions, cut to what the text tower can read.
            audio: a path, encoded bytes, an array or tensor ((S,), (K, S) or (S, K) samples), or a list of them.
            sampling_rate: rate of arrays and tensors, Hz; resampled to the tower's rate. Never guessed.
            return_tensors: `pt` or `np`.
            prepared: see `RaClapFeatureExtractor.__call__`.
            audio_kwargs: another place for `sampling_rate`, where Sentence Transformers passes it.

        Returns:
            `input_ids`, `attention_mask` (B, tokens) for text; `input_values` (B, S) or `input_features` (B, F, M)
            and `audio_attention_mask` for audio.

        Raises:
            ValueError: neither text nor audio, an empty caption, an array without a rate, or a clip with no sound.
            FileNotFoundError: an audio path does not exist.
        """
        if sampling_rate is None:
            sampling_rate = (audio_kwargs or {}).get("sampling_rate")
        if text is None and audio is None:
            raise ValueError("pass text, audio or both")
        data: dict[str, Any] = {}
        if text is not None:
            data.update(self._tokenize(text, return_tensors))
        if audio is not None:
            data.update(self.feature_extractor(audio, sampling_rate, return_tensors=return_tensors, prepared=prepared))
        return BatchFeature(data)

    def _tokenize(self, text: str | list[str], return_tensors: str | None) -> dict[str, Any]:
        captions = [text] if isinstance(text, str) else list(text)
        for index, caption in enumerate(captions):
            if not isinstance(caption, str) or not caption.strip():
                raise ValueError(f"caption {index} is empty or no text: {caption!r}")
        return self.tokenizer(captions, padding=True, truncation=True, return_tensors=return_tensors)

    @property
    def model_input_names(self) -> list[str]:
        """Names of everything the model's forward takes from here."""
        return self.tokenizer.model_input_names + self.feature_extractor.model_input_names
