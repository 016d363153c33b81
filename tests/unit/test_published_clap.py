"""Published speech-text models: modules with the published layers and names are the oracle."""

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from conftest import RATE, WORDS, make_tokenizer
from raclap import cli
from raclap.errors import ModelFolderError
from raclap.hub.clap_catalogue import PUBLISHED_CLAPS
from raclap.hub.published_clap import ConvertedClap, convert_clap, write_clap
from raclap.model_folder import load_model_folder
from raclap.recipe import ModelRecipe
from raclap.training.towers import build_model

SAMPLES = (16_000, 9_003, 24_001)
CAPTIONS = ["a low voice", "the person speaks in a high pitched tone", "loud"]
SPEECH = {
    "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 72,
    "conv_dim": (16, 16, 24, 16, 16, 16, 20), "conv_kernel": (10, 3, 3, 3, 3, 2, 2), "feat_extract_norm": "layer",
    "do_stable_layer_norm": True, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.075,
}  # fmt: skip
TEXT = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 48}


class Projection(nn.Module):
    """`embeds = layer_norm(linear1(x) + drop(linear2(gelu(linear1(x)))))`, as both publish it."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear1 = nn.Linear(inputs, outputs, bias=False)
        self.linear2 = nn.Linear(outputs, outputs, bias=False)
        self.layer_norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        first = self.linear1(x)
        return self.layer_norm(first + self.linear2(F.gelu(first)))


class Branch(nn.Module):
    def __init__(self, base: nn.Module):
        super().__init__()
        self.base = base


class PublishedClap(nn.Module):
    """The published layers under the published names, of small sizes."""

    def __init__(self, speech: nn.Module, text: nn.Module, scale_name: str):
        super().__init__()
        self.audio_branch, self.text_branch = Branch(speech), Branch(text)
        self.audio_projection = Projection(speech.config.hidden_size, 40)
        self.text_projection = Projection(text.config.hidden_size, 40)
        setattr(self, scale_name, nn.Parameter(torch.tensor(3.1)))

    def audio(self, waveform: Tensor, mask: Tensor | None = None) -> Tensor:
        frames = self.audio_branch.base(waveform, attention_mask=mask)[0]
        if mask is None:
            return F.normalize(self.audio_projection(frames.mean(1)), dim=-1)
        real = self.audio_branch.base._get_feature_vector_attention_mask(frames.shape[1], mask)[..., None]
        return F.normalize(self.audio_projection((frames * real).sum(1) / real.sum(1)), dim=-1)

    def text(self, tokens: dict[str, Tensor]) -> Tensor:
        return F.normalize(self.text_projection(self.text_branch.base(**tokens)[0][:, 0]), dim=-1)


def paraspeechclap() -> PublishedClap:
    speech = WavLMModel(WavLMConfig(**SPEECH, conv_bias=False, num_buckets=320))
    text = XLMRobertaConfig(
        **TEXT, vocab_size=50, max_position_embeddings=34, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5
    )
    return PublishedClap(speech, XLMRobertaModel(text), "log_logit_scale")


def paraclap() -> PublishedClap:
    speech = Wav2Vec2Model(Wav2Vec2Config(**SPEECH, conv_bias=True))
    text = BertModel(BertConfig(**TEXT, vocab_size=50, max_position_embeddings=32))
    return PublishedClap(speech, text, "logit_scale")


PUBLISHED = {"paraspeechclap": paraspeechclap, "paraclap": paraclap}


def published(kind: str) -> PublishedClap:
    """With normalisations that have been trained, so that one that is lost would show."""
    torch.manual_seed(0)
    model = PUBLISHED[kind]().eval()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(std=0.2)
    return model


def roberta_tokenizer() -> PreTrainedTokenizerFast:
    """Special tokens in XLM-RoBERTa's order."""
    vocabulary = {word: index for index, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>"
    )


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory) -> dict[str, Path]:
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in PUBLISHED}
    roberta_tokenizer().save_pretrained(folders["paraspeechclap"])
    make_tokenizer().save_pretrained(folders["paraclap"])
    return folders


@pytest.fixture(params=list(PUBLISHED))
def kind(request) -> str:
    return request.param


@pytest.fixture
def convert(kind, tokenizers, tmp_path):
    def converted(weights: object, name: str = "weights.pth.tar") -> ConvertedClap:
        torch.save(weights, tmp_path / name)
        return convert_clap(kind, tmp_path / name, tmp_path / "out", str(tokenizers[kind]))

    return converted


def clips() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(size) + 0.02).astype(np.float32) for size in SAMPLES]


def prepared(kind: str, clip: np.ndarray) -> Tensor:
    """As the published code prepares a clip: ParaSpeechCLAP by WavLM-large's extractor, ParaCLAP not at all."""
    if kind == "paraclap":
        return torch.from_numpy(clip)[None]
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    return extractor(clip, sampling_rate=RATE, return_tensors="pt").input_values


def test_every_kind_is_checked():
    assert set(PUBLISHED) == set(PUBLISHED_CLAPS)


@torch.no_grad()
def test_embeddings_are_those_of_the_published_layers(kind, convert, tokenizers):
    oracle = published(kind)
    clap = convert(oracle.state_dict())
    model, processor = clap.model, clap.processor
    expected = torch.cat([oracle.audio(prepared(kind, clip)) for clip in clips()])
    assert expected.std(dim=0).min() > 1e-4, "clips differ"
    alone = [model.get_audio_features(**processor(audio=clip, sampling_rate=RATE)).pooler_output for clip in clips()]
    assert (torch.cat(alone) - expected).abs().max() < 1e-5
    batch = model.get_audio_features(**processor(audio=clips(), sampling_rate=RATE)).pooler_output
    assert (batch - expected).abs().max() < 1e-5
    if kind == "paraspeechclap":  # whose code can take padded clips
        padded = nn.utils.rnn.pad_sequence([prepared(kind, clip)[0] for clip in clips()], batch_first=True)
        mask = (torch.arange(padded.shape[1]) < torch.tensor(SAMPLES)[:, None]).long()
        assert (batch - oracle.audio(padded, mask)).abs().max() < 1e-5
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizers[kind])
    expected = oracle.text(dict(tokenizer(CAPTIONS, padding=True, return_tensors="pt")))
    assert expected.std(dim=0).min() > 1e-4, "captions differ"
    assert (model.get_text_features(**processor(text=CAPTIONS)).pooler_output - expected).abs().max() < 1e-5
    for caption, row in zip(CAPTIONS, expected, strict=True):
        embedded = model.get_text_features(**processor(text=caption)).pooler_output[0]
        assert (embedded - row).abs().max() < 1e-5
    assert model.logit_scale.item() == pytest.approx(np.exp(3.1), rel=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "field", "value"), [("paraclap", "normalize", "utterance")])
def test_another_preparation_is_not_what_was_published(kind, field, value, convert):
    """The oracle above can fail: it does, where the waveform is prepared otherwise."""
    clap = convert(published(kind).state_dict())
    setattr(clap.processor.feature_extractor, field, value)
    found = clap.model.get_audio_features(**clap.processor(audio=clips()[0], sampling_rate=RATE)).pooler_output
    assert (found - published(kind).audio(prepared(kind, clips()[0]))).abs().max() > 1e-3


def test_configuration_says_what_was_published(kind, convert):
    clap = convert(published(kind).state_dict())
    config = clap.model.config
    assert (config.projection, config.projection_dim, config.projection_dropout) == ("residual_mlp", 40, 0.5)
    assert (config.audio_pooling, config.text_pooling) == ("last_mean", "cls")
    for name, value in SPEECH.items():
        if name != "mask_time_prob":
            found = getattr(config.audio_config, name)
            assert (tuple(found) if isinstance(value, tuple) else found) == value, name
    assert config.audio_config.conv_bias == (kind == "paraclap")
    for name, value in TEXT.items():
        assert getattr(config.text_config, name) == value, name
    assert config.text_config.layer_norm_eps == {"paraspeechclap": 1e-5, "paraclap": 1e-12}[kind]
    assert clap.processor.tokenizer.model_max_length == 32  # XLM-RoBERTa leaves two of its 34 positions out
    assert ("text.hidden_size", 64, 768) in clap.other_sizes
    assert ("projection_dim", 40, 768) in clap.other_sizes
    expected = {"audio_branch.base.masked_spec_embed", "text_branch.base.pooler.dense.weight"}
    assert set(clap.left_out) == expected | {"text_branch.base.pooler.dense.bias"}


def test_published_sizes_are_those_of_the_published_encoders(kind):
    """Parameters counted on shapes alone, with the poolers: of the text encoders the number is known to the last."""
    known = PUBLISHED_CLAPS[kind]
    with torch.device("meta"):
        speech = {"paraspeechclap": WavLMModel, "paraclap": Wav2Vec2Model}[kind](known.speech)
        text = {"paraspeechclap": XLMRobertaModel, "paraclap": BertModel}[kind](known.text)
    millions = {"paraspeechclap": 315.5, "paraclap": 164.3}[kind]
    assert speech.num_parameters() / 1e6 == pytest.approx(millions, abs=0.1)
    assert text.num_parameters() == {"paraspeechclap": 278_043_648, "paraclap": 109_482_240}[kind]


def test_prefix_older_names_and_file_type_make_no_difference(kind, convert, tokenizers, tmp_path):
    weights = published(kind).state_dict()
    expected = convert(weights).model.state_dict()
    older = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
        "log_logit_scale": "logit_scale",
    }
    renamed = {}
    for name, value in weights.items():
        found = next((new for new in older if new in name), None)
        renamed["module." + (name if found is None else name.replace(found, older[found]))] = value
    renamed["module.text_branch.base.embeddings.position_ids"] = torch.arange(8)[None]
    save_file({name: value.clone() for name, value in renamed.items()}, tmp_path / "weights.safetensors")
    clap = convert_clap(kind, tmp_path / "weights.safetensors", tmp_path / "out", str(tokenizers[kind]))
    assert "module.text_branch.base.embeddings.position_ids" in clap.left_out
    for name, value in clap.model.state_dict().items():
        assert torch.equal(value, expected[name]), name


@torch.no_grad()
def test_the_folder_is_whole(kind, convert, tmp_path):
    clap = convert({name: value.half() for name, value in published(kind).state_dict().items()})
    write_clap(clap, tmp_path / "made" / "model")
    folder = tmp_path / "made" / "model"
    assert [path.name for path in folder.parent.iterdir()] == ["model"], "nothing is left beside it"
    model, processor = load_model_folder(folder)
    inputs = processor(audio=clips(), text=CAPTIONS, sampling_rate=RATE)
    expected = clap.model(**inputs)
    for name, value in clap.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    torch.testing.assert_close(model(**inputs).logits_per_audio, expected.logits_per_audio, rtol=1e-6, atol=1e-6)
    assert model.dtype == torch.float32
    card = (folder / "README.md").read_text()
    known = PUBLISHED_CLAPS[kind]
    assert "Not of the published sizes: `speech.hidden_size` is 128, published 1024" in card
    for words in (known.title, known.code, f"license: {known.licence}", known.text_name, "weights.pth.tar", "SHA-256"):
        assert words in card
    assert str(tmp_path) not in card + (folder / "config.json").read_text()
    assert json.loads((folder / "config.json").read_text())["projection"] == "residual_mlp"
    with pytest.raises(ModelFolderError, match="model: exists"):
        write_clap(clap, folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFolderError, match="cannot be written"):
        write_clap(clap, tmp_path / "file" / "model")


@torch.no_grad()
@pytest.mark.parametrize("kind", ["paraspeechclap"])
def test_the_folder_loads_where_this_package_is_not_installed(kind, convert, tmp_path):
    clap, folder = convert(published(kind).state_dict()), tmp_path / "model"
    write_clap(clap, folder)
    inputs = clap.processor(audio=clips(), text=CAPTIONS, sampling_rate=RATE)
    np.savez(tmp_path / "inputs.npz", **{name: value.numpy() for name, value in inputs.items()})
    program = (
        "import sys; sys.modules['modeling_raclap'] = sys.modules['raclap'] = None\n"
        "import numpy, torch\nfrom transformers import AutoModel, AutoProcessor\n"
        f"model = AutoModel.from_pretrained({str(folder)!r}, trust_remote_code=True).eval()\n"
        f"AutoProcessor.from_pretrained({str(folder)!r}, trust_remote_code=True)(text='a voice')\n"
        f"inputs = {{n: torch.from_numpy(v) for n, v in numpy.load({str(tmp_path / 'inputs.npz')!r}).items()}}\n"
        "with torch.no_grad(): print(model(**inputs).logits_per_audio.flatten().tolist())"
    )
    environment = {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    )
    said = torch.tensor(json.loads(done.stdout.strip().splitlines()[-1]))
    torch.testing.assert_close(said, clap.model(**inputs).logits_per_audio.flatten(), rtol=1e-5, atol=1e-5)


def test_a_recipe_goes_on_from_it(kind, convert, tmp_path):
    write_clap(convert(published(kind).state_dict()), tmp_path / "model")
    same = {"projection": "residual_mlp", "projection_dim": 40, "audio_pooling": "last_mean", "text_pooling": "cls"}
    model, processor = build_model(ModelRecipe(init_from=str(tmp_path / "model"), **same))
    inputs = processor(audio=clips(), text=CAPTIONS, sampling_rate=RATE)
    model.train()(**inputs, return_loss=True).loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def without(weights: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name not in names}


LAYER = "audio_branch.base.encoder.layers.1.layer_norm.weight"
WORD_TABLE = "text_branch.base.embeddings.word_embeddings.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: without(w, LAYER), f"1 missing: {LAYER}$"),
        (lambda w: without(w, WORD_TABLE, LAYER), f"2 missing: {LAYER}, {WORD_TABLE}$"),
        (lambda w: without(w, "audio_projection.linear1.weight"), r"1 missing: audio_projection\.linear1\.weight$"),
        (lambda w: without(w, "log_logit_scale", "logit_scale"), r"1 missing: log_logit_scale$"),
        (
            lambda w: {**w, "audio_projection.linear1.bias": torch.zeros(40), "head.weight": torch.zeros(3, 40)},
            r"2 surplus: audio_projection\.linear1\.bias, head\.weight$",
        ),
        (
            lambda w: {**without(w, LAYER), "head.weight": torch.zeros(3, 40)},
            f"1 missing: {LAYER}; 1 surplus: head\\.weight$",
        ),
        (
            lambda w: {n: v for n, v in w.items() if ".encoder.layers.1." not in n},
            r"\d\d missing: (audio_branch\.base\.encoder\.layers\.1\.[^,]+, ){10}… \d+ more$",
        ),
        (
            lambda w: {**w, "audio_branch.base.encoder.pos_conv_embed.conv.weight_g": torch.ones(1, 1, 16)},
            r"1 surplus: audio_branch\.base\.encoder\.pos_conv_embed\.conv\.weight_g$",
        ),
        (
            lambda w: {**w, "text_branch.base.encoder.layer.900000000.bias": torch.zeros(1)},
            r"1 surplus: text_branch\.base\.encoder\.layer\.900000000\.bias$",
        ),
        (lambda w: {**w, "text_branch.base.pooler.other": torch.zeros(1)}, r"1 surplus: text_branch\.base\.pooler"),
        (
            lambda w: {**w, "text_projection.linear2.weight": torch.zeros(40, 41)},
            r"'text_projection\.linear2\.weight' has the shape \(40, 41\), expected \(40, 40\)$",
        ),
        (
            lambda w: {**w, "text_projection.linear1.weight": torch.zeros(40)},
            r"'text_projection\.linear1\.weight' has the shape \(40,\), expected \(40, 64\)$",
        ),
        (
            lambda w: {**w, WORD_TABLE: torch.zeros(50)},
            f"'{WORD_TABLE}' has the shape \\(50,\\), expected \\(50, 64\\)$",
        ),
        (
            lambda w: {**w, "text_branch.base.embeddings.LayerNorm.weight": torch.ones(100)},
            "the text encoder has a hidden size of 100, expected a multiple of 64",
        ),
        (
            lambda w: {**w, "text_projection.linear2.weight": torch.full((40, 40), torch.nan)},
            r"'text_projection\.linear2\.weight' holds numbers that are not finite$",
        ),
        (
            lambda w: {**without(w, "log_logit_scale"), "logit_scale": torch.tensor(14.3)},
            r"the logit scale is 14\.3, expected its logarithm, between 0 and 11\.5$",
        ),
        (
            lambda w: {**without(w, "log_logit_scale"), "logit_scale": torch.tensor(-0.5)},
            r"the logit scale is -0\.5, expected its logarithm",
        ),
        (lambda w: {"state_dict": w, "epoch": 3}, r"'state_dict' is a [A-Za-z]+, expected a tensor and its name$"),
        (lambda w: list(w.values()), "holds a list, expected tensors by name$"),
        (lambda w: {}, r"\d+ missing: log_logit_scale, audio_branch\.base\.feature_extractor.* more$"),
    ],
)
def test_what_does_not_fit_is_named(change, message, kind, convert, tmp_path):
    with pytest.raises(ModelFolderError, match=r"weights\.pth\.tar: .*" + message) as caught:
        convert(change(published(kind).state_dict()))
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_another_kind_is_refused(kind, tokenizers, tmp_path):
    other = next(name for name in PUBLISHED if name != kind)
    torch.save(published(other).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ModelFolderError, match=f"does not hold the weights of {kind}: "):
        convert_clap(kind, tmp_path / "weights.pt", tmp_path / "out", str(tokenizers[kind]))


class Dangerous:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_nothing_but_a_state_dict_is_read(kind, convert, tokenizers, tmp_path):
    with pytest.raises(ModelFolderError, match=r"whole\.pt: cannot be read .* nothing else is unpickled"):
        convert(published(kind).text_projection, "whole.pt")  # a module itself
    with pytest.raises(ModelFolderError, match="cannot be read"):
        convert({"a": torch.zeros(1), "b": Dangerous(tmp_path / "touched")})
    (tmp_path / "object.pth.tar").write_bytes(pickle.dumps(Dangerous(tmp_path / "touched")))
    torch.save(published(kind).state_dict(), tmp_path / "all.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "all.pt").read_bytes()[:100_000])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    for name in ("object.pth.tar", "cut.pt", "empty.safetensors"):
        with pytest.raises(ModelFolderError, match=re.escape(name) + ": cannot be read"):
            convert_clap(kind, tmp_path / name, tmp_path / "out", str(tokenizers[kind]))
    for path in (tmp_path / "gone.pt", tmp_path):
        with pytest.raises(ModelFolderError, match="no such file"):
            convert_clap(kind, path, tmp_path / "out", str(tokenizers[kind]))
    assert not (tmp_path / "touched").exists() and not (tmp_path / "out").exists()


def test_a_tokenizer_that_cannot_be_had_or_does_not_fit(kind, tokenizers, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    torch.save(published(kind).state_dict(), tmp_path / "weights.pt")
    (tmp_path / "empty").mkdir()
    for source in (None, str(tmp_path / "empty"), "no-such/tokenizer"):
        name = source or PUBLISHED_CLAPS[kind].text_name
        with pytest.raises(ModelFolderError, match=rf"tokenizer {re.escape(name)}: cannot be had .*--tokenizer"):
            convert_clap(kind, tmp_path / "weights.pt", tmp_path / "out", source)
    other = next(folder for name, folder in tokenizers.items() if name != kind)
    with pytest.raises(ModelFolderError, match=r"pads with [01]; the weights know 50 and expect [01]: "):
        convert_clap(kind, tmp_path / "weights.pt", tmp_path / "out", str(other))
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelFolderError, match="out: exists"):
        convert_clap(kind, tmp_path / "weights.pt", tmp_path / "out", str(tokenizers[kind]))


def test_the_command_says_what_it_made(kind, tokenizers, tmp_path, monkeypatch, capsys):
    torch.save(published(kind).state_dict(), tmp_path / "weights.pt")
    words = [
        "convert",
        kind,
        str(tmp_path / "weights.pt"),
        str(tmp_path / "out"),
        "--tokenizer",
        str(tokenizers[kind]),
    ]
    monkeypatch.setattr(sys, "argv", ["raclap", *words])
    cli.main()
    said = capsys.readouterr().out
    assert "of 3 layers and" in said and "of 2 layers, embeddings of 40, logit scale 22.2" in said
    assert "left out, as no part of an embedding: audio_branch.base.masked_spec_embed" in said
    assert "not the published size: text.hidden_size is 64, published 768" in said
    assert f"--set model.init_from={tmp_path / 'out'}" in said
    assert (tmp_path / "out" / "model.safetensors").is_file()
