"""A recipe's model and processor, built before training: from the Hub, a folder, a package or at random."""

import hashlib
import importlib.util
from pathlib import Path

from transformers import AutoFeatureExtractor, AutoTokenizer, PreTrainedModel

from modeling_raclap import RaClapConfig, RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from modeling_raclap.configuration_raclap import SPEAKER_ENCODER_CONFIGS
from modeling_raclap.modeling_raclap import build_tower, load_tower
from raclap.errors import ModelFolderError, RecipeError
from raclap.model_folder import load_model_folder
from raclap.recipe import ModelRecipe, TowerRecipe

_PACKAGE = "package:"


def build_model(recipe: ModelRecipe) -> tuple[RaClapModel, RaClapProcessor]:
    """Builds what a recipe describes, or loads the folder it goes on from.

    Returns:
        The model, its frozen towers without gradient, and the processor that belongs to it.

    Raises:
        RecipeError: a tower's configuration or feature setting is not known, or is not that of the folder.
        ModelFolderError: pretrained weights are missing or not the expected ones.
    """
    model, processor = _join_towers(recipe) if recipe.init_from is None else _go_on(recipe)
    _freeze(model.audio_model, recipe.speech, "model.speech")
    _freeze(model.text_model, recipe.text, "model.text")
    return model, processor


def _go_on(recipe: ModelRecipe) -> tuple[RaClapModel, RaClapProcessor]:
    """An exported folder's model, if it is the one that the recipe describes."""
    model, processor = load_model_folder(recipe.init_from)
    config = model.config
    joined = ("projection_dim", "audio_pooling", "text_pooling", "layer_weights", "logit_scale_max")
    stated = {
        "model": ({name: getattr(recipe, name) for name in joined if name in recipe.model_fields_set}, config),
        "model.speech.config": (recipe.speech.config or {}, config.audio_config),
        "model.text.config": (recipe.text.config or {}, config.text_config),
        "model.features": (recipe.features, processor.feature_extractor),
    }
    for section, (wanted, found) in stated.items():
        for key, value in wanted.items():
            held = getattr(found, key, None)
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
        tokenizer = AutoTokenizer.from_pretrained(text_source)
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"model.text.pretrained {text_source}: cannot be loaded ({error})") from error
    model = RaClapModel.from_speech_text_pretrained(
        speech,
        text,
        projection_dim=recipe.projection_dim,
        audio_pooling=recipe.audio_pooling,
        text_pooling=recipe.text_pooling,
        layer_weights=recipe.layer_weights,
        logit_scale_init=recipe.logit_scale_init,
        logit_scale_max=recipe.logit_scale_max,
    )
    return model, RaClapProcessor(_feature_extractor(recipe, model.config), tokenizer)


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
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != tower.sha256:
            raise ModelFolderError(f"{weights}: SHA-256 is {found}, the recipe expects {tower.sha256}")
    return source


def _freeze(tower: PreTrainedModel, recipe: TowerRecipe, key: str) -> None:
    """Takes the gradient from a tower, or from its input and first layers.

    Raises:
        RecipeError: the tower has fewer layers, or none that can be told apart.
    """
    if recipe.freeze:
        tower.requires_grad_(False)
    if not recipe.freeze_layers:
        return
    layers = getattr(getattr(tower, "encoder", None), "layer", None) or getattr(
        getattr(tower, "encoder", None), "layers", None
    )
    if layers is None or len(layers) < recipe.freeze_layers:
        count = "no layers that can be told apart" if layers is None else f"{len(layers)} layers"
        raise RecipeError(f"{key}.freeze_layers: {recipe.freeze_layers}, but {type(tower).__name__} has {count}")
    kept = set(map(id, (parameter for layer in layers[recipe.freeze_layers :] for parameter in layer.parameters())))
    for parameter in tower.parameters():
        if id(parameter) not in kept:
            parameter.requires_grad_(False)


def _speech_tower(tower: TowerRecipe) -> PreTrainedModel:
    if tower.pretrained is None:
        try:
            return build_tower(RaClapConfig(audio_config=tower.config).audio_config)
        except (ValueError, TypeError) as error:
            raise RecipeError(f"model.speech.config: {error}") from error
    source = locate(tower)
    try:
        return load_tower(source, **(tower.config or {}))
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"model.speech.pretrained {source}: cannot be loaded ({error})") from error


def _feature_extractor(recipe: ModelRecipe, config: RaClapConfig) -> RaClapFeatureExtractor:
    """The recipe's settings, over those of the pretrained encoder, over those its kind of tower needs."""
    settings: dict = {}
    if config.audio_config.model_type in SPEAKER_ENCODER_CONFIGS:
        settings = {"features": "log_mel", "num_mel_bins": config.audio_config.num_mel_bins}
    elif recipe.speech.pretrained is not None:
        stock = AutoFeatureExtractor.from_pretrained(locate(recipe.speech))
        settings["sampling_rate"] = stock.sampling_rate
        settings["normalize"] = "utterance" if getattr(stock, "do_normalize", False) else "none"
    known = RaClapFeatureExtractor().to_dict()
    unknown = [key for key in recipe.features if key not in known]
    if unknown:
        raise RecipeError(f"model.features.{unknown[0]}: unknown key")
    try:
        return RaClapFeatureExtractor(**{**settings, **recipe.features})
    except ValueError as error:
        raise RecipeError(f"model.features: {error}") from error
