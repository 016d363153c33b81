"""ONNX graphs of every family of towers against torch, on other sizes than were traced, and what refuses them."""

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from tokenizers import Tokenizer

import raclap.hub.onnx_export as onnx_export_module
from conftest import RATE, tone
from encoder_families import SPEECH, TEXT, save_text
from modeling_raclap import RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from modeling_raclap.calibration_raclap import Calibration
from raclap.errors import OnnxExportError
from raclap.hub.onnx_export import TOLERANCE, export_onnx, metadata_of, write_graph
from raclap.hub.onnx_graphs import Graph, SpeechFeatures, graphs_of, waveform_batch
from raclap.recipe import ModelRecipe
from raclap.training.towers import build_model

onnxruntime = pytest.importorskip("onnxruntime", reason="needs raclap[onnx]")
pytest.importorskip("onnxscript", reason="needs raclap[onnx]")

ECAPA = {
    "model_type": "raclap_ecapa_tdnn", "channels": 16, "mfa_channels": 24, "hidden_size": 8, "se_channels": 8,
    "attention_channels": 8, "kernel_sizes": [5, 3], "dilations": [1, 2], "res2net_scale": 2,
}  # fmt: skip
RESNET = {"model_type": "raclap_resnet34", "channels": 2, "block_counts": [1, 1, 1, 1], "hidden_size": 8}
CONVOLUTIONS = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "conv_dim": [16, 16, 16], "conv_stride": [5, 4, 4], "conv_kernel": [10, 4, 4], "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
PRE_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
TOWERS = {
    "ecapa-tdnn, reflect": {**ECAPA, "padding": "reflect"},
    "resnet-34": RESNET,
    "wavlm-base": {"model_type": "wavlm", **CONVOLUTIONS},
    "wav2vec2-large": {"model_type": "wav2vec2", **CONVOLUTIONS, **PRE_NORM},
    "hubert-base": {"model_type": "hubert", **CONVOLUTIONS},
    **{name: {**SPEECH[name], "num_hidden_layers": 1} for name in ("wav2vec2-bert, rotary", "wav2vec2-bert", "ast")},
    "whisper": {**SPEECH["whisper"], "encoder_layers": 1, "decoder_layers": 1},
}
FRONT_ENDS = {
    "raclap": {"features": "log_mel"},
    "raclap, utterance": {"features": "log_mel", "normalize": "utterance"},
    "kaldi": {"features": "log_mel", "front_end": "kaldi"},
    "speechbrain": {"features": "log_mel", "front_end": "speechbrain"},
    "waveform": {},
    "waveform, utterance": {"normalize": "utterance"},
}
REPOSITORY = Path(__file__).parents[2]
LONG = "the person speaks in a high tone and it is loud and the voice is a low voice with a quiet pitched tone " * 2
CAPTIONS = (["loud"], ["a low voice", LONG, "a quiet voice with it"], ["a low voice"] * 5)


def batches() -> list[list[np.ndarray]]:
    """One clip; several of unlike lengths, one with digital silence in it; several alike."""
    rng = np.random.default_rng(1)
    clips = [tone(rng.uniform(100, 400), 0.4, seconds, rng) for seconds in (1.6, 1.15, 0.4, 0.15, 0.8)]
    clips[1][4000:] = 0.0
    return [clips[:1], clips[1:], [clips[4], clips[4]]]


def build(speech: dict, text_folder: Path, **model) -> tuple[RaClapModel, RaClapProcessor]:
    torch.manual_seed(0)
    sections = {
        "speech": {"config": speech}, "text": {"pretrained": str(text_folder)}, "projection_dim": 16, **model,
    }  # fmt: skip
    model, processor = build_model(ModelRecipe.model_validate(sections))
    with torch.no_grad():  # biases start at zero, where padding would not show
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval(), processor


def run(file: Path, inputs: dict) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {name: np.asarray(value) for name, value in inputs.items()})


def graph_named(name: str, model: RaClapModel, processor: RaClapProcessor) -> Graph:
    return next(graph for graph in graphs_of(model, processor) if graph.name == name)


def unlike(embeddings: np.ndarray) -> float:
    """Smallest distance of two rows: what all agree about says nothing."""
    distances = np.abs(embeddings[:, None] - embeddings[None]).max(-1)
    return distances[~np.eye(len(embeddings), dtype=bool)].min()


@pytest.fixture(scope="module")
def exported(tmp_path_factory, text_folder) -> tuple[RaClapModel, RaClapProcessor, Path, object]:
    """Model (half precision when exported), processor, folder (there was an older one), what the export returned."""
    model, processor = build(ECAPA, text_folder)
    model.config.calibration = Calibration(9.0, -1.5, (-0.2, 0.0, 0.3)).to_dict()
    folder = tmp_path_factory.mktemp("export") / "onnx"
    folder.mkdir()
    (folder / "audio.onnx.data").write_text("of an older export")
    model.to(torch.bfloat16).train()
    parity = export_onnx(model, processor, folder, name="tiny")
    assert model.training and model.dtype == torch.bfloat16, "the model is left as it was"
    return model.float().eval(), processor, folder, parity


@pytest.mark.parametrize("name", TOWERS)
def test_speech_towers_embed_as_in_torch(name, text_folder, tmp_path):
    model, processor = build(TOWERS[name], text_folder)
    prepared = [processor(audio=clips, sampling_rate=RATE) for clips in batches()]
    with torch.no_grad():
        expected = [model.get_audio_features(**inputs).pooler_output.numpy() for inputs in prepared]
    write_graph(graph_named("audio", model, processor), {}, tmp_path)
    for inputs, embeddings in zip(prepared, expected, strict=True):
        np.testing.assert_allclose(run(tmp_path / "audio.onnx", inputs)[0], embeddings, rtol=0, atol=TOLERANCE)
    assert unlike(expected[1]) > 10 * TOLERANCE


@pytest.mark.parametrize("name", ["mpnet", "deberta-v2", "modernbert"])
def test_text_towers_embed_as_in_torch(name, tmp_path):
    model, processor = build(RESNET, save_text(tmp_path / "text", TEXT[name]))
    prepared = [processor(text=captions) for captions in CAPTIONS]
    with torch.no_grad():
        expected = [model.get_text_features(**inputs).pooler_output.numpy() for inputs in prepared]
    write_graph(graph_named("text", model, processor), {}, tmp_path)
    for inputs, embeddings in zip(prepared, expected, strict=True):
        np.testing.assert_allclose(run(tmp_path / "text.onnx", inputs)[0], embeddings, rtol=0, atol=TOLERANCE)
    assert unlike(expected[1]) > 10 * TOLERANCE


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_features_are_those_of_the_feature_extractor(name, tmp_path):
    extractor = RaClapFeatureExtractor(**FRONT_ENDS[name])
    every = batches()
    every[1].append(every[1][0][:400])  # shorter than the shortest that is read
    expected = [extractor(clips, RATE) for clips in every]
    given = [waveform_batch(clips, extractor.shortest_samples) for clips in every]
    axes = ({0: "clips", 1: "samples"}, {0: "clips"})
    graph = Graph("features", SpeechFeatures(extractor), tuple(expected[0]), given[2], (), axes)
    graph.module(*given[2].values())
    write_graph(graph, {}, tmp_path)
    for inputs, features in zip(given, expected, strict=True):
        values, mask = run(tmp_path / "features.onnx", inputs)
        wanted, real = features.values()
        assert np.array_equal(mask, real)
        assert np.abs(values - wanted.numpy())[real.numpy() == 1].max() < 2e-3  # of some 10 in logarithms, 30 in dB
        assert not values[real.numpy() == 0].any()


def test_an_export_goes_from_files_to_unit_embeddings(exported):
    model, processor, folder, parity = exported
    assert {path.name for path in folder.iterdir()} == {"audio.onnx", "features.onnx", "text.onnx", "tokenizer.json"}
    for clips in batches():
        features = run(folder / "features.onnx", waveform_batch(clips, 1600))
        found = run(
            folder / "audio.onnx", dict(zip(("input_features", "audio_attention_mask"), features, strict=True))
        )
        with torch.no_grad():
            expected = model.get_audio_features(**processor(audio=clips, sampling_rate=RATE)).pooler_output
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(np.linalg.norm(found[0], axis=1), 1, atol=1e-5)
    assert 0 < max(parity.audio, parity.text, parity.waveforms) <= TOLERANCE


def test_the_tokenizer_beside_the_graphs_is_the_processors(exported):
    model, processor, folder, _ = exported
    for captions in CAPTIONS:
        rows = Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch(captions)
        expected = processor(text=captions)
        assert [row.ids for row in rows] == expected["input_ids"].tolist()
        assert [row.attention_mask for row in rows] == expected["attention_mask"].tolist()
        found = run(folder / "text.onnx", dict(expected))[0]
        with torch.no_grad():
            np.testing.assert_allclose(
                found, model.get_text_features(**expected).pooler_output, rtol=0, atol=TOLERANCE
            )


def test_the_metadata_says_what_the_graphs_do_not(exported):
    model, processor, folder, _ = exported
    session = onnxruntime.InferenceSession(folder / "audio.onnx", providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert facts == metadata_of(model, processor, "tiny")
    assert (facts["name"], facts["sampling_rate"], facts["shortest_samples"]) == ("tiny", "16000", "1600")
    assert float(facts["logit_scale"]) == pytest.approx(model.logit_scale.item())
    assert Calibration.from_dict(json.loads(facts["calibration"])) == model.calibration
    assert RaClapFeatureExtractor(**json.loads(facts["feature_extractor"])).to_dict() == (
        processor.feature_extractor.to_dict()
    )
    assert [read.shape for read in session.get_inputs()] == [["clips", "frames", 80], ["clips", "frames"]]


@pytest.fixture
def model_folder(exported, tmp_path) -> Path:
    """As `raclap export --onnx` lays it out: the graphs, and clips of another rate in stereo."""
    (tmp_path / "onnx").symlink_to(exported[2])
    (tmp_path / "examples").mkdir()
    for index, clip in enumerate(batches()[1]):
        stereo = np.stack([clip, 0.5 * clip], axis=1)
        soundfile.write(tmp_path / "examples" / f"{index}.flac", stereo, 24_000)
    return tmp_path


def embeddings_of(exported, folder: Path, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Of the folder's clips and of descriptions, by the processor and torch."""
    model, processor, *_ = exported
    with torch.no_grad():
        audio = model.get_audio_features(**processor(audio=sorted((folder / "examples").iterdir())))
        return audio.pooler_output.numpy(), model.get_text_features(**processor(text=texts)).pooler_output.numpy()


def search_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("onnx_search", REPOSITORY / "examples" / "onnx_search.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def imported(source: str) -> set[str]:
    """Packages that a program imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.partition(".")[0])
    return found


def test_the_documented_lines_embed_without_torch(exported, model_folder, monkeypatch, capsys):
    lines = re.search(r"```python\n(.*?)```", (REPOSITORY / "docs" / "onnx.md").read_text(), re.DOTALL)[1]
    assert not imported(lines) & {"torch", "transformers", "raclap", "modeling_raclap"}
    monkeypatch.chdir(model_folder)
    names: dict = {}
    exec(lines, names)
    audio, text = embeddings_of(exported, model_folder, ["a man speaks quietly", "a loud, fast voice"])
    np.testing.assert_allclose(names["audio_embeds"], audio, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(names["text_embeds"], text, rtol=0, atol=TOLERANCE)
    probabilities = exported[0].match_probability(torch.from_numpy(audio), torch.from_numpy(text)).flatten()
    printed = [float(number) for number in re.findall(r"[\d.e-]+", capsys.readouterr().out)]
    assert printed == pytest.approx(probabilities.tolist(), abs=2e-3)


def test_the_search_example_ranks_as_torch_does(exported, model_folder, monkeypatch, capsys):
    example = search_example()
    source = (REPOSITORY / "examples" / "onnx_search.py").read_text()
    assert not imported(source) & {"torch", "transformers", "raclap", "modeling_raclap"}
    arguments = [str(model_folder / "onnx"), str(model_folder / "examples"), "a low voice", "--top", "4"]
    monkeypatch.setattr(sys, "argv", ["onnx_search.py", *arguments])
    example.main()
    audio, text = (torch.from_numpy(values) for values in embeddings_of(exported, model_folder, ["a low voice"]))
    scores = exported[0].match_probability(audio, text)[:, 0]
    order = scores.argsort(descending=True)
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if ".flac" in line]
    assert [Path(path).stem for _, path in printed] == [str(int(index)) for index in order]
    assert [float(score) for score, _ in printed] == pytest.approx(scores[order].tolist(), abs=2e-3)


def test_the_search_example_says_what_a_folder_lacks(tmp_path):
    with pytest.raises(SystemExit, match=r"holds no audio\.onnx"):
        search_example().OnnxModel(tmp_path)


class Bessel(torch.nn.Module):
    """A projection of which no graph can be made."""

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(pooled)


def test_an_operation_that_onnx_does_not_have_is_named(text_folder, tmp_path):
    model, processor = build(RESNET, text_folder)
    model.text_projection = Bessel()
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "text.onnx").write_text("of an older export")
    with pytest.raises(OnnxExportError, match=r"^text\.onnx cannot be written: .* operation \w+\.\w*bessel_j0$"):
        export_onnx(model, processor, tmp_path / "onnx")
    assert [path.name for path in tmp_path.rglob("*")] == ["onnx", "text.onnx"], "what was there is there, and no more"


def test_a_graph_that_computes_something_else_is_refused(text_folder, tmp_path, monkeypatch):
    def write_another(graph: Graph, *args) -> None:
        with torch.no_grad():
            graph.module.model.audio_projection.linear2.weight[0].add_(0.05)
        write_graph(graph, *args)

    monkeypatch.setattr(onnx_export_module, "graphs_of", lambda *given: [graph_named("audio", *given)])
    monkeypatch.setattr(onnx_export_module, "write_graph", write_another)
    with pytest.raises(OnnxExportError, match=r"^audio\.onnx: embeddings of ONNX Runtime differ .* more than 0\.0001"):
        export_onnx(*build(RESNET, text_folder), tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_cannot_be_run_is_refused(text_folder, tmp_path, monkeypatch):
    def write_nonsense(graph: Graph, _: dict, folder: Path) -> None:
        (folder / f"{graph.name}.onnx").write_bytes(b"no graph")

    monkeypatch.setattr(onnx_export_module, "write_graph", write_nonsense)
    with pytest.raises(OnnxExportError, match=r"^text\.onnx: ONNX Runtime cannot run it: "):
        export_onnx(*build(RESNET, text_folder), tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


def test_weights_beyond_the_limit_of_a_file_lie_beside_their_graph(text_folder, tmp_path, monkeypatch):
    """And are found after the folder was renamed, as each export is."""
    monkeypatch.setattr("torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD", 2_000)
    model, processor = build(RESNET, text_folder)
    inputs = processor(text=CAPTIONS[1])
    with torch.no_grad():
        expected = model.get_text_features(**inputs).pooler_output
    (tmp_path / "beside").mkdir()
    write_graph(graph_named("text", model, processor), {}, tmp_path / "beside")
    (tmp_path / "beside").rename(tmp_path / "onnx")
    assert {path.name for path in (tmp_path / "onnx").iterdir()} == {"text.onnx", "text.onnx.data"}
    np.testing.assert_allclose(run(tmp_path / "onnx" / "text.onnx", dict(inputs))[0], expected, rtol=0, atol=TOLERANCE)


def test_a_missing_package_is_named(text_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        onnx_export_module.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else object()
    )
    with pytest.raises(OnnxExportError, match=r"needs the package onnxscript: pip install 'raclap\[onnx\]'$"):
        export_onnx(*build(RESNET, text_folder), tmp_path / "onnx")
