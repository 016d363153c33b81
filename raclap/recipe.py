"""Recipes: what a run is, typed and frozen. The defaults are section 3.2 of the RA-CLAP paper.

A recipe is a YAML file; every key is declared here and any other is an error that names the file and the key.
`extends: OTHER.yaml` takes another recipe as the ground: mappings are merged key by key, anything else is replaced.
`${RACLAP_CACHE}` and environment variables are replaced in its texts, so that a recipe names no machine.
"""

import difflib
import os
import string
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from raclap.errors import RecipeError
from raclap.settings_file import explained, read_settings

Positive = Annotated[int, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class LoraRecipe(_Section):
    """Low-rank corrections of some layers of an encoder, trained in place of its weights (Hu et al., 2022)."""

    rank: Positive = Field(8, description="r, of each correction")
    alpha: float = Field(16.0, gt=0, description="α; corrections are scaled by α / r")
    dropout: float = Field(0.0, ge=0, lt=1, description="of what the corrections read")
    targets: tuple[str, ...] | None = Field(
        None, min_length=1, description="names of linear layers, by their last parts; None: the attention projections"
    )


class TowerRecipe(_Section):
    """One encoder: pretrained weights, or a configuration to start at random."""

    pretrained: str | None = Field(
        None, description="Hub name, folder, or package:NAME/FOLDER for weights inside an installed package"
    )
    sha256: str | None = Field(None, description="expected SHA-256 of the model.safetensors of `pretrained`")
    config: dict[str, Any] | None = Field(None, description="model_type and fields of its transformers config")
    freeze: bool = Field(False, description="keep the encoder as it is (and in eval mode)")
    freeze_layers: Annotated[int, Field(ge=0)] = Field(
        0, description="keep its input embeddings and this many of its first layers as they are"
    )
    lora: LoraRecipe | None = Field(None, description="train low-rank corrections, and keep the encoder as it is")
    learning_rate: float | None = Field(None, gt=0, description="of this encoder; None takes optimizer.learning_rate")

    @model_validator(mode="after")
    def _is_kept_or_adapted(self) -> "TowerRecipe":
        if self.freeze and self.lora is not None:
            raise ValueError("freeze keeps the encoder as it is and lora corrects it: give one of them")
        return self


class ModelRecipe(_Section):
    """The two towers and how they are joined; see RaClapConfig and RaClapFeatureExtractor.

    With `init_from` an exported folder gives architecture, features and weights; what the recipe says of them must
    then agree with the folder. Freezing and learning rates are always the recipe's.
    """

    init_from: str | None = Field(None, description="exported folder to go on from (fine-tuning)")
    speech: TowerRecipe = TowerRecipe()
    text: TowerRecipe = TowerRecipe()
    features: dict[str, Any] = Field(
        default_factory=dict,
        description="settings of the feature extractor; empty takes those of the pretrained speech encoder",
    )
    projection: Literal["relu_mlp", "residual_mlp"] = "relu_mlp"
    projection_dim: Positive = 512
    projection_dropout: float = Field(0.0, ge=0, lt=1, description="inside a residual_mlp")
    audio_pooling: Literal["layer_weighted_mean", "last_mean", "pooler"] | None = None
    text_pooling: Literal["mean", "cls", "layer_weighted_mean"] = "mean"
    layer_weights: Literal["softmax", "raw"] = "softmax"
    logit_scale_init: float = Field(1 / 0.07, ge=1, description="inverse of the starting temperature")
    logit_scale_max: float = Field(100.0, ge=1)

    @model_validator(mode="after")
    def _drops_where_it_can(self) -> "ModelRecipe":
        if self.projection != "residual_mlp" and self.projection_dropout:
            raise ValueError("projection_dropout belongs to the projection 'residual_mlp'")
        return self


class CorpusRecipe(_Section):
    """One corpus of the mixture."""

    name: str
    manifest: str = Field(description="Parquet manifest, made by `raclap prepare`")
    audio_root: str | None = Field(None, description="where its audio lies, if not where the manifest says")
    pairs: Positive | None = Field(
        None, description="train on this many of its pairs, the same in every run; None: on all"
    )
    streaming: bool = Field(
        False, description="read training rows from the files as they are needed; all corpora of a recipe, or none"
    )

    @model_validator(mode="after")
    def _streams_all_rows(self) -> "CorpusRecipe":
        if self.streaming and self.pairs is not None:
            raise ValueError("'pairs' are drawn from rows at hand: it cannot be given with streaming")
        return self


class ClassBalanceRecipe(_Section):
    """Clips with rare tags are drawn more often, and some are in every global batch (ParaSpeechCLAP)."""

    groups: tuple[str, ...] = Field(
        min_length=1, description="whose tags count: groups of tags (`intrinsic` of `intrinsic:deep`) or attributes"
    )
    rare_share: float = Field(0.05, gt=0, lt=1, description="a tag is rare below this share of a corpus's clips")
    rare_per_batch: Annotated[int, Field(ge=0)] = Field(
        2, description="clips with a rare tag that every global batch holds at least"
    )


class DataRecipe(_Section):
    """What is read, and how it is mixed."""

    corpora: tuple[CorpusRecipe, ...] = Field(min_length=1)
    mixture: Literal["balanced", "natural"] | dict[str, Positive] = Field(
        "balanced",
        description="balanced: every batch holds the corpora 1:1:1; natural: by size; or shares by corpus name",
    )
    class_balance: ClassBalanceRecipe | None = Field(
        None, description="draw the clips of a corpus by the rarity of their tags; None: all equally often"
    )
    crop_seconds: float | None = Field(10.0, gt=0, description="longest random crop in training; None: whole clips")
    audio_check: Literal["decode", "header", "none"] = Field(
        "decode", description="how every recording is checked before training"
    )
    skip_bad: bool = Field(False, description="leave bad recordings out and list them, instead of stopping")
    keep_in_memory: bool = Field(False, description="decode once, hold 16-bit samples (115 MB an hour)")
    cache: str | None = Field(
        None, description="folder to keep decoded 16-bit samples in, for this and later runs (115 MB an hour)"
    )
    workers: Annotated[int, Field(ge=0)] = Field(2, description="loader processes on each training process")
    shuffle_buffer: Positive = Field(
        50_000, description="with streaming: rows of a corpus that each process shuffles at a time (about 20 MB)"
    )

    @property
    def streams(self) -> bool:
        """Whether training rows are streamed."""
        return self.corpora[0].streaming

    @model_validator(mode="after")
    def _streams_all_corpora_or_none(self) -> "DataRecipe":
        without = [corpus.name for corpus in self.corpora if not corpus.streaming]
        if without and len(without) < len(self.corpora):
            raise ValueError(f"corpora: streaming is for all of a recipe or for none, not without {without}")
        if self.streams and self.keep_in_memory:
            raise ValueError("keep_in_memory holds all clips of a corpus: it cannot be given with streaming")
        if self.streams and self.class_balance is not None:
            raise ValueError("class_balance counts the tags of all rows beforehand: it cannot be given with streaming")
        if not self.streams and self.shuffle_buffer != type(self).model_fields["shuffle_buffer"].default:
            raise ValueError("shuffle_buffer belongs to corpora with streaming")
        return self

    @model_validator(mode="after")
    def _keeps_clips_in_one_place(self) -> "DataRecipe":
        if self.cache is not None and self.keep_in_memory:
            raise ValueError("keep_in_memory holds clips in memory and cache in a file: give one of them")
        if self.cache is not None and any(corpus.streaming for corpus in self.corpora):
            raise ValueError("cache holds all clips of a corpus: it cannot be given with streaming")
        return self


class _Change(_Section):
    """One change of the sound of a clip; ranges are drawn from evenly."""

    probability: float = Field(0.5, gt=0, le=1)

    @model_validator(mode="after")
    def _ranges_rise(self) -> "_Change":
        for name in type(self).model_fields:
            if name.startswith("min_") and getattr(self, name) > getattr(self, f"max_{name[4:]}"):
                raise ValueError(f"{name} is larger than max_{name[4:]}")
        return self


class GainRecipe(_Change):
    """Louder or quieter. Mind the captions that name loudness."""

    kind: Literal["gain"]
    min_db: float = -6.0
    max_db: float = 6.0


class GaussianNoiseRecipe(_Change):
    """White noise."""

    kind: Literal["gaussian_noise"]
    min_snr_db: float = 10.0
    max_snr_db: float = 40.0


class BackgroundNoiseRecipe(_Change):
    """A stretch of a recording, mixed in."""

    kind: Literal["background_noise"]
    sounds: str
    min_snr_db: float = 5.0
    max_snr_db: float = 30.0


class ImpulseResponseRecipe(_Change):
    """A recorded room."""

    kind: Literal["impulse_response"]
    sounds: str


class RoomRecipe(_Change):
    """A simulated room, by its reverberation time."""

    kind: Literal["room"]
    min_seconds: float = Field(0.15, gt=0)
    max_seconds: float = 0.8


class Mp3Recipe(_Change):
    """Compressed to MP3 and back."""

    kind: Literal["mp3"]
    min_kbps: Positive = 16
    max_kbps: Positive = 64


class BandRecipe(_Change):
    """Frequencies above (low_pass) or below (high_pass) a corner are taken away, 12 to 24 dB an octave."""

    kind: Literal["low_pass", "high_pass"]
    min_hz: float = Field(gt=0)
    max_hz: float


ChangeRecipe = (
    GainRecipe
    | GaussianNoiseRecipe
    | BackgroundNoiseRecipe
    | ImpulseResponseRecipe
    | RoomRecipe
    | Mp3Recipe
    | BandRecipe
)


class AugmentationRecipe(_Section):
    """In training only: speed perturbation (Ko et al., 2015), changes of sound, SpecAugment (Park et al., 2019)."""

    speed: float = Field(
        0.0, ge=0, lt=1, description="clips play up to this share faster or slower, pitch along with tempo"
    )
    waveform: tuple[Annotated[ChangeRecipe, Field(discriminator="kind")], ...] = Field(
        (),
        description="changes made one after the other, each {kind, probability, ...}: gain (min_db, max_db), "
        "gaussian_noise (min_snr_db, max_snr_db), background_noise (sounds: folder or manifest, min_snr_db, "
        "max_snr_db), impulse_response (sounds), room (min_seconds, max_seconds of reverberation), mp3 (min_kbps, "
        "max_kbps), low_pass and high_pass (min_hz, max_hz)",
    )
    time_masks: Annotated[int, Field(ge=0)] = 0
    time_mask_frames: Positive = 30
    mel_masks: Annotated[int, Field(ge=0)] = 0
    mel_mask_bins: Positive = 10


class RankRecipe(_Section):
    """Rank-N-Contrast across modalities, over valence and arousal (EmotionRankCLAP)."""

    weight: float = Field(1.0, gt=0)
    logit_scale: float | None = Field(None, gt=0, description="1/τ, fixed; None takes the model's learned scale")


class ClassificationRecipe(_Section):
    """Clips against the sentences of all tags, each tag by itself (ParaSpeechCLAP)."""

    weight: float = Field(1.0, gt=0)
    groups: tuple[str, ...] = Field(
        min_length=1, description="groups of tags (`intrinsic` of `intrinsic:deep`) or attributes, averaged over"
    )
    templates: str = Field(description="YAML file of sentences with a {tag}; each step draws one for each tag")
    logit: Literal["scaled", "cosine"] = Field(
        "scaled", description="cosines by a learned scale and bias, or bare as published (then at least 0.313)"
    )


class ObjectiveRecipe(_Section):
    """A weighted sum: contrastive, by rank, by classification.

    Of the contrastive one: which captions are right for a clip, and how much. InfoNCE, Eq. (3), or soft targets,
    Eqs. (4)-(7).
    """

    contrastive_weight: float = Field(1.0, ge=0, description="0 leaves the contrastive loss out")
    rank: RankRecipe | None = Field(None, description="order by valence and arousal")
    classification: ClassificationRecipe | None = Field(None, description="tags by their sentences")
    symmetric: bool = Field(True, description="both directions; false is the literal audio → text of Eq. (3)")
    relation: Literal["identity", "caption", "style", "attributes", "teacher"] = Field(
        "identity",
        description="identity: the pair alone (InfoNCE); caption, style: all pairs of the batch with an equal caption "
        "or style key; attributes: by the share of the caption's named attributes that hold; teacher: see 'teacher'",
    )
    relation_weight: float = Field(1.0, gt=0, description="of the divergence from the relation's targets")
    info_nce_weight: float = Field(0.0, ge=0, description="λ of InfoNCE beside another relation than identity")
    attribute_power: float = Field(
        1.0, gt=0, description="exponent of the shares of the relation 'attributes': larger is sharper"
    )
    audio_logit_scale: float | None = Field(
        None, gt=0, description="ε_s of audio → text, fixed; None takes the model's learned scale"
    )
    text_logit_scale: float | None = Field(None, gt=0, description="ε_t of text → audio, likewise")

    @model_validator(mode="after")
    def _reads_what_is_given(self) -> "ObjectiveRecipe":
        if self.relation == "identity" and (self.relation_weight != 1 or self.info_nce_weight != 0):
            raise ValueError("the relation 'identity' is InfoNCE: it takes no relation_weight and no info_nce_weight")
        if self.relation != "attributes" and self.attribute_power != 1:
            raise ValueError("attribute_power belongs to the relation 'attributes'")
        if self.contrastive_weight == 0 and self.rank is None and self.classification is None:
            raise ValueError("contrastive_weight is 0, and there is neither rank nor classification to learn from")
        if self.contrastive_weight == 0 and self.relation != "identity":
            raise ValueError(f"contrastive_weight is 0: nothing learns from the relation '{self.relation}'")
        return self


class TeacherRecipe(_Section):
    """Whose cosines are the targets of RA-CLAP's second stage."""

    folders: tuple[str, ...] = Field((), description="exported folders; the cosines of several are averaged")
    sees: Literal["crops", "clips"] = Field(
        "crops", description="the student's crops in every step, or whole clips: embedded once, and stored"
    )
    temperature: float | None = Field(None, gt=0, description="τ_T; None: temperature_ratio decides")
    temperature_ratio: float = Field(
        1.0, gt=0, description="τ_T as a multiple of the temperature that the teacher learned"
    )
    ema_decay: float | None = Field(
        None, gt=0, lt=1, description="the teacher follows the student as its exponential moving average"
    )

    @model_validator(mode="after")
    def _is_one_kind(self) -> "TeacherRecipe":
        if self.temperature is not None and self.temperature_ratio != 1:
            raise ValueError("give temperature or temperature_ratio, not both")
        if self.ema_decay is not None and self.sees == "clips":
            raise ValueError("a teacher that follows the student cannot be stored: sees must be 'crops'")
        if self.ema_decay is not None and len(self.folders) > 1:
            raise ValueError("a teacher that follows the student starts from one folder")
        return self


class OptimizerRecipe(_Section):
    """Adam as in section 3.2, and its schedule."""

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(2e-5, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float | None = Field(1.0, gt=0, description="gradient clipping; None: off")
    schedule: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "constant"
    warmup_ratio: float = Field(0.0, ge=0, le=1, description="share of all steps that the rate rises over")


class TrainingRecipe(_Section):
    """How long, how large, in what precision."""

    batch_size: int = Field(
        192,
        ge=2,
        description="pairs in a global batch, over all processes together; one has nothing to contrast",
    )
    epochs: Positive = 15
    steps_per_epoch: Positive | None = Field(None, description="None: as many as hold all pairs once")
    speech_micro_batches: Positive = Field(
        1, description="the speech tower runs over the batch in this many length-sorted parts (less padding)"
    )
    text_micro_batches: Positive = Field(1, description="the same for the text tower")
    gradient_checkpointing: bool = Field(
        False, description="compute the speech tower's layers again in the backward pass: less memory, more time"
    )
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    checkpoint_steps: Positive | None = Field(None, description="also save within an epoch, every so many steps")
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "comet_ml"], ...] = ("tensorboard",)


class EvaluationRecipe(_Section):
    """Validation after each epoch, and which epoch counts as the best."""

    select: Literal["R@1", "R@10", "mAP@10", "nDCG@10", "style_mAP@10", "zero_shot_UAR", "tau"] = Field(
        "mAP@10",
        description="figure of the best epoch: mean over corpora (and directions); tau: Kendall's, in valence and "
        "arousal, over the corpora that have both",
    )
    zero_shot: str | None = Field(None, description="protocol of zero-shot classification (docs/classification.md)")

    @model_validator(mode="after")
    def _selects_what_is_measured(self) -> "EvaluationRecipe":
        if self.select == "zero_shot_UAR" and self.zero_shot is None:
            raise ValueError("select zero_shot_UAR needs a protocol in 'zero_shot'")
        return self


class Recipe(_Section):
    """One run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = 0
    model: ModelRecipe = ModelRecipe()
    data: DataRecipe
    augmentation: AugmentationRecipe = AugmentationRecipe()
    objective: ObjectiveRecipe = ObjectiveRecipe()
    teacher: TeacherRecipe | None = None
    optimizer: OptimizerRecipe = OptimizerRecipe()
    training: TrainingRecipe = TrainingRecipe()
    evaluation: EvaluationRecipe = EvaluationRecipe()

    @model_validator(mode="after")
    def _has_a_model(self) -> "Recipe":
        if self.start is not None:
            return self
        if self.model.speech.pretrained is None and "model_type" not in (self.model.speech.config or {}):
            raise ValueError("model.speech: give 'pretrained', or a 'config' with its model_type, or model.init_from")
        if self.model.text.pretrained is None:
            raise ValueError("model.text.pretrained is needed (the tokenizer comes with it), or model.init_from")
        return self

    @model_validator(mode="after")
    def _has_a_teacher_if_needed(self) -> "Recipe":
        if (self.teacher is not None) != (self.objective.relation == "teacher"):
            raise ValueError("objective.relation 'teacher' and the section 'teacher' belong together")
        if self.teacher is not None and self.start is None:
            raise ValueError("teacher.folders is empty, and there is no model.init_from to start from")
        if self.teacher is not None and self.teacher.ema_decay is None and not self.teacher.folders:
            raise ValueError("teacher.folders is empty: name an exported folder, or set teacher.ema_decay")
        return self

    @model_validator(mode="after")
    def _learns_from_a_stream_what_can_be(self) -> "Recipe":
        if self.data.streams and (self.objective.rank or self.objective.classification):
            raise ValueError("objective: rank and classification look at all rows beforehand: not with streaming")
        if self.data.streams and self.objective.relation == "attributes":
            raise ValueError("objective.relation 'attributes' must know all rows beforehand: not with streaming")
        if self.data.streams and self.teacher is not None and self.teacher.sees == "clips":
            raise ValueError("teacher.sees 'clips' embeds all rows beforehand: with streaming it must be 'crops'")
        return self

    @model_validator(mode="after")
    def _mixture_fits(self) -> "Recipe":
        names = [corpus.name for corpus in self.data.corpora]
        if len(set(names)) < len(names):
            raise ValueError(f"data.corpora: a name stands twice in {names}")
        if isinstance(self.data.mixture, dict) and set(self.data.mixture) != set(names):
            raise ValueError(f"data.mixture names {sorted(self.data.mixture)}, data.corpora {sorted(names)}")
        shares = self.shares
        if shares and self.training.batch_size % sum(shares):
            below = self.training.batch_size // sum(shares) * sum(shares)
            raise ValueError(
                f"training.batch_size {self.training.batch_size} cannot be split {':'.join(map(str, shares))}; "
                f"{below or sum(shares)} can"
            )
        return self

    @property
    def start(self) -> str | None:
        """Exported folder that the model starts from: `model.init_from`, else a copy of the first teacher."""
        folders = self.teacher.folders if self.teacher else ()
        return self.model.init_from or next(iter(folders), None)

    @property
    def shares(self) -> tuple[int, ...] | None:
        """Share of each corpus in a batch, in the order of `data.corpora`; None for the natural mixture."""
        if self.data.mixture == "natural":
            return None
        if self.data.mixture == "balanced":
            return (1,) * len(self.data.corpora)
        return tuple(self.data.mixture[corpus.name] for corpus in self.data.corpora)


def read_recipe(path: Path | str, settings: Sequence[str] = ()) -> Recipe:
    """Reads a recipe file and applies `a.b=value` settings to it.

    Args:
        path: YAML file.
        settings: dotted key, `=`, YAML value; list items by number (`data.corpora.0.manifest=x.parquet`).

    Raises:
        RecipeError: the file or a setting has an unknown key or a wrong value; the message names both.
    """
    path = Path(path)
    values = _read_values(path, ())
    for setting in settings:
        _set(values, setting)
    try:
        return Recipe.model_validate(_expand(values, path))
    except ValidationError as error:
        raise RecipeError(explained(path, error, _suggestion)) from None


def dump_recipe(recipe: Recipe, with_paths: bool = True) -> str:
    """The resolved recipe as YAML; reading it back gives the same recipe.

    Args:
        recipe: to write.
        with_paths: also where this machine keeps corpora, models and other files; without, the text can be
            published.
    """
    places = None
    if not with_paths:
        corpora = {"corpora": {"__all__": {"manifest", "audio_root"}}}
        sounds = {"waveform": {"__all__": {"sounds"}}}
        places = {
            "data": {**corpora, "cache": True}, "model": {"init_from"}, "teacher": {"folders"}, "augmentation": sounds,
            "objective": {"classification": {"templates"}}, "evaluation": {"zero_shot"},
        }  # fmt: skip
    return yaml.safe_dump(recipe.model_dump(mode="json", exclude=places), sort_keys=False, allow_unicode=True)


def differences(one: Recipe, other: Recipe) -> list[str]:
    """Dotted keys whose values differ."""
    a, b = dict(_leaves(one.model_dump(mode="json"))), dict(_leaves(other.model_dump(mode="json")))
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


def describe_keys() -> str:
    """Every key with its default and meaning, for --help."""
    return "\n".join(_describe(Recipe, prefix=""))


def _describe(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, info in section.model_fields.items():
        inner = [t for t in (info.annotation, *typing.get_args(info.annotation)) if isinstance(t, type)]
        inner = [t for t in inner if issubclass(t, BaseModel)]
        if inner:
            yield from _describe(inner[0], f"{prefix}{name}.")
            continue
        default = "required" if info.is_required() else f"default {info.get_default(call_default_factory=True)}"
        meaning = f"{info.description}; " if info.description else ""
        yield f"  {prefix}{name}: {meaning}{default}"


def _read_values(path: Path, extending: tuple[Path, ...]) -> dict:
    """A recipe file's values over those of the file that it extends."""
    if path.resolve() in extending:
        raise RecipeError(f"{path}: key 'extends': the recipe extends itself")
    values = read_settings(path, "a recipe", RecipeError)
    ground = values.pop("extends", None)
    if ground is None:
        return values
    if not isinstance(ground, str):
        raise RecipeError(f"{path}: key 'extends': the name of a recipe file beside this one, not {ground!r}")
    return _merge(_read_values(path.parent / ground, (*extending, path.resolve())), values)


def _merge(ground: dict, values: dict) -> dict:
    """`values` over `ground`: mappings key by key, anything else replaced."""
    merged = dict(ground)
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _set(values: dict, setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {setting}: write it as key.key=value")
    place: Any = values
    *parents, last = key.split(".")
    try:
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[int(last) if isinstance(place, list) else last] = yaml.safe_load(text)
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise RecipeError(f"--set {setting}: there is no place '{key}' in the recipe") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {setting}: the value is not valid YAML ({error})") from error


def _expand(value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, path) for item in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    variables = {"RACLAP_CACHE": str(Path("~/.cache/raclap/corpora").expanduser()), **os.environ}
    try:
        return string.Template(value).substitute(variables)
    except (KeyError, ValueError) as error:
        raise RecipeError(f"{path}: '{value}': the variable {error} is not set") from error


def _suggestion(parts: Sequence[str]) -> str:
    """Nearest known key of the same section."""
    section: Any = Recipe
    for part in parts[:-1]:
        if part.isdigit():
            continue
        annotation = section.model_fields[part].annotation
        section = next((t for t in (annotation, *typing.get_args(annotation)) if hasattr(t, "model_fields")), None)
        if section is None:
            return ""
    near = difflib.get_close_matches(parts[-1], section.model_fields, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; the keys here are {', '.join(section.model_fields)}"


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not items:
        yield prefix.rstrip("."), value
    for key, item in items:
        yield from _leaves(item, f"{prefix}{key}.")
