"""LoRA: a tower learns small corrections of some of its layers and keeps its own weights as they are.

A layer W x becomes W x + (α / r) B A x with B and A of rank r; B starts at zero, so that training starts where the
tower is. PEFT does the work while a model is trained. What is exported is the sum, and needs neither PEFT nor this.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
"""

from collections.abc import Iterable

from torch import Tensor, nn
from transformers import PreTrainedModel

from modeling_raclap import RaClapModel
from modeling_raclap.speaker_encoders_raclap import SPEAKER_ENCODERS
from raclap.errors import RecipeError
from raclap.recipe import LoraRecipe

_ADAPTER = "default"  # PEFT's name of the only one
_ATTENTION = frozenset({"attention", "attn", "self_attn", "self_attention"})


def add_adapters(
    tower: PreTrainedModel, recipe: LoraRecipe, key: str, within: Iterable[nn.Module] | None = None
) -> None:
    """Adapts a tower in place; nothing of it but the adapters is trained from then on.

    Args:
        tower: with the weights to start from.
        recipe: rank, scale, dropout, and which layers.
        key: of the recipe section, for errors.
        within: the parts that may be adapted; None: all.

    Raises:
        RecipeError: PEFT is not installed, or the tower has no such layers.
    """
    if tower.config.model_type in SPEAKER_ENCODERS:
        raise RecipeError(f"{key}: {type(tower).__name__} has no attention to adapt, and is small: train it whole")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise RecipeError(f"{key}: needs PEFT: pip install 'raclap[lora]'") from error
    names = _layers_to_adapt(tower, recipe.targets, key, within)
    settings = LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=recipe.dropout, target_modules=names, bias="none"
    )
    inject_adapter_in_model(settings, tower, adapter_name=_ADAPTER)
    for name, parameter in tower.named_parameters():
        parameter.requires_grad_(_is_of_adapter(name))


def merged_weights(model: RaClapModel) -> dict[str, Tensor] | None:
    """The weights of a model with its adapters added to the layers that they correct, under the layers' own names.

    The model itself stays as it is, and may be trained on.

    Returns:
        What `save_pretrained` takes as `state_dict`; None if nothing is adapted.
    """
    weights = model.state_dict()
    if not any(map(_is_of_adapter, weights)):
        return None
    from peft.tuners.lora import LoraLayer

    merged = {name.replace(".base_layer.", "."): own for name, own in weights.items() if not _is_of_adapter(name)}
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            merged[f"{name}.weight"] = merged[f"{name}.weight"] + layer.get_delta_weight(_ADAPTER).detach()
    return merged


def _is_of_adapter(name: str) -> bool:
    return ".lora_" in name


def _layers_to_adapt(
    tower: PreTrainedModel, targets: tuple[str, ...] | None, key: str, within: Iterable[nn.Module] | None
) -> list[str]:
    linear = {name: layer for name, layer in tower.named_modules() if isinstance(layer, nn.Linear)}
    if targets is None:
        # Of the tower's width: the projections of queries, keys, values and output, and no gate or bias beside them.
        width = tower.config.hidden_size
        found = [n for n, layer in linear.items() if _ATTENTION & set(n.split(".")) and layer.in_features == width]
    else:
        for target in targets:
            if not any(_is_called(name, target) for name in linear):
                kinds = ", ".join(sorted({name.split(".")[-1] for name in linear}))
                raise RecipeError(
                    f"{key}.targets: {type(tower).__name__} has no linear layer '{target}'; it has {kinds}"
                )
        found = [name for name in linear if any(_is_called(name, target) for target in targets)]
    if not found:
        raise RecipeError(f"{key}: {type(tower).__name__} has no attention projections; name layers in {key}.targets")
    if within is not None:
        allowed = {id(module) for part in within for module in part.modules()}
        found = [name for name in found if id(linear[name]) in allowed]
        if not found:
            raise RecipeError(f"{key}: freeze_layers keeps every layer that would be adapted as it is")
    return found


def _is_called(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")
