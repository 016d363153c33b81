"""A recipe's model and processor, built before training: from the Hub, a folder, a package or at random."""

import importlib.util
import inspect
from pathlib import Path
from typing import Any

from torch import nn
from transformers import (
    AutoFeatureExtractor,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from modeling_raclap import RaClapConfig, RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from modeling_raclap.configuration_raclap import SPEAKER_ENCODER_CONFIGS
from modeling_raclap.modeling_raclap import build_tower, load_tower
from modeling_raclap.stock_features_raclap import StockFeatures
from raclap.errors import ModelFolderError, RecipeError
from raclap.lora import add_adapters
from raclap.model_folder import load_model_folder
from raclap.provenance import sha256_of
from raclap.recipe import ModelRecipe, TowerRecipe

_PACKAGE = "package:"
_WHISPER_RATE = 50  # encoder frames a second
_STACKED = 2  # log-mel frames that wav2vec2-BERT reads as one
# Keys of a recipe's model that are fields of its configuration and stay what they were.
_JOINED = (
    "projection", "projection_dim", "projection_dropout", "audio_pooling", "text_pooling", "layer_weights",
    "logit_scale_max",
)  # fmt: skip


def build_model(recipe: ModelRecipe) -> tuple[RaClapModel, RaClapProcessor]:
    """Builds what a recipe describes, or loads the folder it goes on from.

    Returns:
        The model, what the recipe freezes without gradient, adapters in the towers that get some, and the processor
        that belongs to it.

    Raises:
        RecipeError: a tower's configuration or feature setting is not known, or is not that of the folder; or there
            are no such layers to freeze or to adapt.
        ModelFolderError: pretrained weights are missing or not the expected ones.
    """
    model, processor = _join_towers(recipe) if recipe.init_from is None else _go_on(recipe)
    _choose_what_is_trained(model.audio_model, recipe.speech, "model.speech")
    _choose_what_is_trained(model.text_model, recipe.text, "model.text")
    return model, processor


def _go_on(recipe: ModelRecipe) -> tuple[RaClapModel, RaClapProcessor]:
    """An exported folder's model, if it is the one that the recipe describes."""
    model, processor = load_model_folder(recipe.init_from)
    config = model.config
    stated = {
        "model": ({name: getattr(recipe, name) for name in _JOINED if name in recipe.model_fields_set}, config),
        "model.speech.config": (recipe.speech.config or {}, config.audio_config),
        "model.text.config": (recipe.text.config or {}, config.text_config),
        "model.features": (recipe.features, processor.feature_extractor),
    }
    for section, (wanted, found) in stated.items():
        for key, value in wanted.items():
            held = getattr(found, key, None)
            if isinstance(value, dict) and isinstance(held, dict):  # the recipe may state a part
                held = {name: held.get(name) for name in value}
            if value is not None and held != value:
                raise RecipeError(
                    f"{section}.{key}: the recipe says {value}, but {recipe.init_from} has {held}; leave the key out "
                    f"or start from another folder"
                )
    return model, processor


def _join_towers(recipe: ModelRecipe) -> tuple[RaClapModel, RaClapProcessor]:
    text_source = locate(recipe.text)
    speech = _speech_tower(recipe.speech)
    try:
        text = load_tower(text_source, **(recipe.text.config or {}))
        tokenizer = _fitted(AutoTokenizer.from_pretrained(text_source), text)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelFolderError(f"model.text.pretrained {text_source}: cannot be loaded ({error})") from error
    try:
        model = RaClapModel.from_speech_text_pretrained(
            speech, text, **{name: getattr(recipe, name) for name in (*_JOINED, "logit_scale_init")}
        )
    except ValueError as error:
        raise RecipeError(f"model: {error}") from error
    return model, RaClapProcessor(feature_extractor(recipe, model.config), tokenizer)


def _fitted(tokenizer: PreTrainedTokenizerBase, text: PreTrainedModel) -> PreTrainedTokenizerBase:
    """The tokenizer, cutting captions to what the tower reads; many do not know how much that is."""
    tables = (module for name, module in text.named_modules() if name.endswith("position_embeddings"))
    table = next((module for module in tables if isinstance(module, nn.Embedding)), None)
    most = getattr(text.config, "max_position_embeddings", None)
    if table is not None:
        # RoBERTa and its relatives count positions from the one after padding's.
        most = table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    if most is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, most)
    tokenizer.padding_side = "right"  # the first token is the first of the caption
    return tokenizer


def locate(tower: TowerRecipe) -> str:
    """Hub name or folder of pretrained weights, checked against the recipe's SHA-256 where it gives one.

    Raises:
        ModelFolderError: a package or folder is not there, or the weights are other ones.
    """
    source = tower.pretrained
    if source.startswith(_PACKAGE):
        package, _, inside = source.removeprefix(_PACKAGE).partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModelFolderError(f"{source}: the package '{package}' is not installed")
        source = str(Path(spec.origin).parent / inside)
    if tower.sha256 is not None:
        weights = Path(source) / "model.safetensors"
        if not weights.is_file():
            raise ModelFolderError(f"{weights}: no such weights")
        found = sha256_of(weights)
        if found != tower.sha256:
            raise ModelFolderError(f"{weights}: SHA-256 is {found}, the recipe expects {tower.sha256}")
    return source


def _choose_what_is_trained(tower: PreTrainedModel, recipe: TowerRecipe, key: str) -> None:
    """Takes the gradient from a tower, or from its input and first layers; adds adapters where the recipe has some.

    Raises:
        RecipeError: the tower has fewer layers, or none that can be told apart, or none to adapt.
    """
    if tower.config.model_type == "whisper":
        tower.embed_positions.requires_grad_(False)  # sinusoids, which loading weights takes for trainable
    later = None
    if recipe.freeze_layers:
        later = _layers_after(tower, recipe.freeze_layers, key)
        kept = set(map(id, (parameter for layer in later for parameter in layer.parameters())))
        for parameter in tower.parameters():
            if id(parameter) not in kept:
                parameter.requires_grad_(False)
    if recipe.freeze:
        tower.requires_grad_(False)
    if recipe.lora is not None:
        add_adapters(tower, recipe.lora, f"{key}.lora", within=later)


def _layers_after(tower: PreTrainedModel, count: int, key: str) -> nn.ModuleList:
    for place in ("encoder.layer", "encoder.layers", "transformer.layer", "layers"):
        try:
            layers = tower.get_submodule(place)
        except AttributeError:
            continue
        if len(layers) < count:
            raise RecipeError(f"{key}.freeze_layers: {count}, but {type(tower).__name__} has {len(layers)} layers")
        return layers[count:]
    raise RecipeError(f"{key}.freeze_layers: {count}, but {type(tower).__name__} has no layers that can be told apart")


def _speech_tower(tower: TowerRecipe) -> PreTrainedModel:
    if (tower.config or {}).get("add_adapter"):
        raise RecipeError(
            "model.speech.config.add_adapter: the encoder's own layers are pooled; leave the adapter out"
        )
    if tower.pretrained is None:
        try:
            return build_tower(RaClapConfig(audio_config=tower.config).audio_config)
        except (ValueError, TypeError) as error:
            raise RecipeError(f"model.speech.config: {error}") from error
    source = locate(tower)
    try:
        return load_tower(source, **(tower.config or {}))
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelFolderError(f"model.speech.pretrained {source}: cannot be loaded ({error})") from error


def feature_extractor(recipe: ModelRecipe, config: RaClapConfig) -> RaClapFeatureExtractor:
    """The recipe's settings, over those of the pretrained encoder, over those its kind of tower needs."""
    known = RaClapFeatureExtractor().to_dict()
    unknown = [key for key in recipe.features if key not in known]
    if unknown:
        raise RecipeError(f"model.features.{unknown[0]}: unknown key")
    try:
        wanted = _stock_settings(config.audio_config)
        if wanted is not None:
            return _stock_features(recipe, wanted)
        return RaClapFeatureExtractor(**{**_own_settings(recipe, config.audio_config), **recipe.features})
    except ValueError as error:
        raise RecipeError(f"model.features: {error}") from error


def _own_settings(recipe: ModelRecipe, config: PretrainedConfig) -> dict[str, Any]:
    if config.model_type in SPEAKER_ENCODER_CONFIGS:
        needed = {"features": "log_mel", "num_mel_bins": config.num_mel_bins}
        return needed if recipe.speech.pretrained is None else {**_stored_settings(recipe.speech), **needed}
    if recipe.speech.pretrained is None:
        return {}
    stock = _published_extractor(recipe.speech)
    normalize = "utterance" if getattr(stock, "do_normalize", False) else "none"
    return {"sampling_rate": stock.sampling_rate, "normalize": normalize}


def _stored_settings(tower: TowerRecipe) -> dict[str, Any]:
    """Settings of our own extractor, as a converted tower's folder holds them."""
    stored = _published_extractor(tower).to_dict()
    return {name: stored[name] for name in inspect.signature(RaClapFeatureExtractor).parameters if name in stored}


def _stock_settings(config: PretrainedConfig) -> dict[str, Any] | None:
    """What an encoder's sizes ask of the extractor of transformers that belongs to it; None: it has none.

    Raises:
        ValueError: no extractor can give what they ask for.
    """
    if config.model_type == "whisper":
        seconds, rest = divmod(config.max_source_positions, _WHISPER_RATE)
        if rest:
            raise ValueError(f"max_source_positions {config.max_source_positions} is no multiple of {_WHISPER_RATE}")
        return {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": config.num_mel_bins,
            "chunk_length": seconds,
        }
    if config.model_type == "wav2vec2-bert":
        bins, rest = divmod(config.feature_projection_input_dim, _STACKED)
        if rest:
            raise ValueError(f"feature_projection_input_dim {config.feature_projection_input_dim} is odd")
        return {
            "feature_extractor_type": "SeamlessM4TFeatureExtractor",
            "feature_size": bins,
            "num_mel_bins": bins,
            "stride": _STACKED,
        }
    if config.model_type == "audio-spectrogram-transformer":
        return {
            "feature_extractor_type": "ASTFeatureExtractor",
            "num_mel_bins": config.num_mel_bins,
            "max_length": config.max_length,
        }
    return None


def _stock_features(recipe: ModelRecipe, wanted: dict[str, Any]) -> RaClapFeatureExtractor:
    """What the encoder asks for, over what the recipe sets, over what was published with the encoder."""
    name = wanted["feature_extractor_type"]
    others = [key for key in recipe.features if key not in ("features", "stock", "trim_silence_db")]
    if others:
        raise RecipeError(f"model.features.{others[0]}: {name} does not read it; set model.features.stock instead")
    known = StockFeatures(wanted).settings
    given = recipe.features.get("stock") or {}
    if not isinstance(given, dict):
        raise RecipeError(f"model.features.stock: settings of {name} by name, not {given!r}")
    for key, value in given.items():
        if key not in known:
            raise RecipeError(f"model.features.stock.{key}: unknown key; {name} knows {', '.join(sorted(known))}")
        if wanted.get(key, value) != value:
            raise RecipeError(f"model.features.stock.{key}: {value}, but the speech tower asks for {wanted[key]}")
    published = {} if recipe.speech.pretrained is None else _published_extractor(recipe.speech).to_dict()
    published = {key: value for key, value in published.items() if key in known}
    return RaClapFeatureExtractor(
        features=recipe.features.get("features", "stock"),
        stock={**published, **given, **wanted},
        trim_silence_db=recipe.features.get("trim_silence_db"),
    )


def _published_extractor(tower: TowerRecipe) -> Any:
    source = locate(tower)
    try:
        return AutoFeatureExtractor.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"model.speech.pretrained {source}: no feature extractor ({error})") from error
