"""Both towers as ONNX graphs, for ONNX Runtime and all that reads its format.

| file | from | to |
|---|---|---|
| features.onnx | waveforms (B, S) and lengths (B,) | the inputs of audio.onnx |
| audio.onnx | input_values (B, S) or input_features (B, F, M); audio_attention_mask | audio_embeds (B, D) |
| text.onnx | input_ids, attention_mask (B, N), and token_type_ids where the tower reads them | text_embeds (B, D) |
| tokenizer.json | captions | the inputs of text.onnx, by the package tokenizers |

Embeddings are unit vectors. The metadata of each graph says the rest: see `metadata_of`.

Shapes: B clips or captions, S samples, F frames, M mel bins, N tokens, D joint size.
"""

import copy
import importlib.util
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm
from transformers.tokenization_utils_base import LARGE_INTEGER

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.errors import OnnxExportError
from raclap.files import replacing_folder
from raclap.hub.onnx_graphs import Graph, graphs_of

TOLERANCE = 1e-4
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_CPU = ["CPUExecutionProvider"]
_REASON_CHARACTERS = 300


@dataclass(frozen=True)
class OnnxParity:
    """Largest differences between embeddings of ONNX Runtime and of torch, over batches of several sizes and lengths.

    Attributes:
        audio: of audio.onnx on the feature extractor's output.
        text: of text.onnx on the tokenizer's output.
        waveforms: of features.onnx and audio.onnx, one after the other; None: this model has no features.onnx.
    """

    audio: float
    text: float
    waveforms: float | None


def export_onnx(model: RaClapModel, processor: RaClapProcessor, folder: Path, name: str = "RA-CLAP") -> OnnxParity:
    """Writes the graphs, whole or not at all; an older folder of the same name is replaced.

    They compute in single precision, whatever the model's own. Weights of more than 1.5 GiB lie in a file beside their
    graph.

    Args:
        model: to export; stays as it is.
        processor: its.
        folder: what the files are written to.
        name: of the model, for the metadata.

    Returns:
        How far the graphs are from the model, at most `TOLERANCE`.

    Raises:
        OnnxExportError: a package is missing, an operation of a tower cannot be written as ONNX, or ONNX Runtime
            computes something else than torch.
    """
    _check_packages()
    model = copy.deepcopy(model).to("cpu", torch.float32).eval()
    model.set_attn_implementation("sdpa")  # other kernels are for GPUs alone
    graphs = graphs_of(model, processor)
    facts = metadata_of(model, processor, name)
    expected = {graph.name: _in_torch(graph) for graph in graphs}  # first: tracing leaves symbols in some modules
    expected["features"] = expected["audio"]
    differences = {}
    with replacing_folder(folder) as beside, tqdm(total=2 * len(graphs), desc="ONNX", unit="step") as progress:
        _write_tokenizer(processor, beside)
        for graph in graphs:
            progress.set_postfix_str(f"{graph.name}.onnx: writing")
            write_graph(graph, facts, beside)
            progress.update()
        for graph in graphs:
            progress.set_postfix_str(f"{graph.name}.onnx: comparing")
            differences[graph.name] = _difference(graph.name, _in_onnx_runtime(graph, beside), expected[graph.name])
            progress.update()
    return OnnxParity(differences["audio"], differences["text"], differences.get("features"))


def metadata_of(model: RaClapModel, processor: RaClapProcessor, name: str) -> dict[str, str]:
    """What a user without torch needs beside the graphs.

    Returns:
        `name`; `sampling_rate` (Hz) and `shortest_samples` (shorter clips are zero-padded to it); `feature_extractor`,
        all its settings as JSON; `logit_scale`; `calibration` as JSON (`slope` and `intercept` of the logistic
        function from cosine to probability, `quantiles`), `null` where there is none.
    """
    extractor = processor.feature_extractor
    return {
        "name": name,
        "sampling_rate": str(extractor.sampling_rate),
        "shortest_samples": str(extractor.shortest_samples),
        "feature_extractor": json.dumps(extractor.to_dict()),
        "logit_scale": repr(model.logit_scale.item()),
        "calibration": json.dumps(model.config.calibration),
    }


def _check_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise OnnxExportError(f"ONNX export needs the package {missing[0]}: pip install 'raclap[onnx]'")


def write_graph(graph: Graph, facts: Mapping[str, str], folder: Path) -> None:
    """Writes one graph as `folder/NAME.onnx`.

    Args:
        graph: of modules on the CPU.
        facts: its metadata.
        folder: exists.

    Raises:
        OnnxExportError: an operation cannot be written as ONNX.
    """
    from onnxscript.optimizer import fold_constants, remove_unused_nodes

    from raclap.hub.onnx_operators import WindowsByIndex, translations

    try:
        # Of attention the plain kernel: the memory layouts of the fused ones cannot be decomposed.
        with _quiet(), sdpa_kernel(SDPBackend.MATH), WindowsByIndex():
            program = torch.onnx.export(
                graph.module.eval(),
                tuple(graph.traced.values()),
                input_names=list(graph.traced),
                output_names=list(graph.outputs),
                dynamic_shapes=(tuple(graph.dynamic_axes),),
                custom_translation_table=translations(),
                dynamo=True,
                optimize=False,  # it takes a constant of 1e-8 for zero: the floor under the logarithm would be lost
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise OnnxExportError(f"{graph.name}.onnx cannot be written: {_reason(error)}") from error
    fold_constants(program.model)
    remove_unused_nodes(program.model)
    program.model.metadata_props.update(facts)
    program.save(folder / f"{graph.name}.onnx", external_data=False)


def _write_tokenizer(processor: RaClapProcessor, folder: Path) -> None:
    """The tokenizer with the padding and the length limit that the processor sets for each call."""
    from tokenizers import Tokenizer

    tokenizer = processor.tokenizer
    if not tokenizer.is_fast:
        return
    alone = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    alone.enable_padding(
        direction=tokenizer.padding_side,
        pad_id=tokenizer.pad_token_id,
        pad_type_id=tokenizer.pad_token_type_id,
        pad_token=tokenizer.pad_token,
    )
    if tokenizer.model_max_length < LARGE_INTEGER:
        alone.enable_truncation(tokenizer.model_max_length, direction=tokenizer.truncation_side)
    alone.save(str(folder / "tokenizer.json"))


@torch.no_grad()
def _in_torch(graph: Graph) -> list[np.ndarray]:
    """The first output for each batch."""
    outputs = [graph.module(*batch.values()) for batch in graph.batches]
    return [(output if isinstance(output, Tensor) else output[0]).numpy() for output in outputs]


def _in_onnx_runtime(graph: Graph, folder: Path) -> list[np.ndarray]:
    """Embeddings of each batch; `features` goes on through `audio`.

    Raises:
        OnnxExportError: ONNX Runtime cannot load or run the graph.
    """
    batches = [{name: value.numpy() for name, value in batch.items()} for batch in graph.batches]
    try:
        outputs = _run(folder, graph.name, batches)
        if graph.name == "features":
            outputs = _run(folder, "audio", [dict(zip(graph.outputs, output, strict=True)) for output in outputs])
    except Exception as error:  # its errors have no class of their own in common
        raise OnnxExportError(f"{graph.name}.onnx: ONNX Runtime cannot run it: {_reason(error)}") from error
    return [output[0] for output in outputs]


def _run(folder: Path, name: str, batches: list[dict[str, np.ndarray]]) -> list[list[np.ndarray]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=_CPU)
    return [session.run(None, batch) for batch in batches]


def _difference(name: str, found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Largest of all.

    Raises:
        OnnxExportError: it is above the tolerance, or no number.
    """
    difference = float(np.max([np.abs(one - other).max() for one, other in zip(found, expected, strict=True)]))
    if not difference <= TOLERANCE:
        raise OnnxExportError(
            f"{name}.onnx: embeddings of ONNX Runtime differ from torch's by {difference:.2g}, more than {TOLERANCE}"
        )
    return difference


def _reason(error: BaseException) -> str:
    """What the innermost of the exporter's errors says, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    operation = re.search(r"OpOverload\(op='([\w.:]+)'", str(error))
    if operation:
        return f"ONNX has nothing for the operation {operation[1]}"
    return " ".join(str(error).split())[:_REASON_CHARACTERS]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on its own workings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
