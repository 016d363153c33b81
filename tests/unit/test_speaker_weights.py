"""Published speaker encoders: plain modules with the published layers and names are the oracle."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from conftest import RATE, tone
from modeling_raclap import EcapaTdnnConfig, EcapaTdnnModel, ResNet34Config
from modeling_raclap.modeling_raclap import load_tower
from modeling_raclap.speaker_encoders_raclap import _reflected
from raclap.errors import ModelFolderError
from raclap.hub.speaker_weights import PUBLISHED_ENCODERS, ConvertedTower, convert, write_tower
from raclap.recipe import ModelRecipe
from raclap.training.towers import build_model

LENGTHS = (6, 9, 33, 64, 101)  # frames


class MirroredConv(nn.Module):
    """A convolution over time that keeps the length, over the clip mirrored at its ends."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)
        self.margin = dilation * (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(pad(x, (self.margin, self.margin), mode="reflect") if self.margin else x)


class WrappedNorm(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Tdnn(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1):
        super().__init__()
        self.conv = MirroredConv(inputs, outputs, kernel, dilation)
        self.norm = WrappedNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(relu(self.conv(x)))


class Res2Net(nn.Module):
    def __init__(self, channels: int, scale: int, kernel: int, dilation: int):
        super().__init__()
        self.blocks = nn.ModuleList(
            [Tdnn(channels // scale, channels // scale, kernel, dilation) for _ in range(scale - 1)]
        )

    def forward(self, x: Tensor) -> Tensor:
        groups = list(x.chunk(len(self.blocks) + 1, dim=1))
        done = [groups[0], self.blocks[0](groups[1])]
        for block, group in zip(self.blocks[1:], groups[2:], strict=True):
            done.append(block(group + done[-1]))
        return torch.cat(done, dim=1)


class Gate(nn.Module):
    def __init__(self, channels: int, bottleneck: int):
        super().__init__()
        self.conv1 = MirroredConv(channels, bottleneck)
        self.conv2 = MirroredConv(bottleneck, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv2(relu(self.conv1(x.mean(dim=2, keepdim=True)))))


class GatedRes2Net(nn.Module):
    def __init__(self, channels: int, scale: int, bottleneck: int, kernel: int, dilation: int):
        super().__init__()
        self.tdnn1 = Tdnn(channels, channels)
        self.res2net_block = Res2Net(channels, scale, kernel, dilation)
        self.tdnn2 = Tdnn(channels, channels)
        self.se_block = Gate(channels, bottleneck)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(x))))


class AttentivePool(nn.Module):
    def __init__(self, channels: int, bottleneck: int):
        super().__init__()
        self.tdnn = Tdnn(3 * channels, bottleneck)
        self.conv = MirroredConv(bottleneck, channels)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=2, keepdim=True)
        deviation = ((x - mean) ** 2).mean(dim=2, keepdim=True).clamp(min=1e-12).sqrt()
        context = torch.cat([x, mean.expand_as(x), deviation.expand_as(x)], dim=1)
        attention = self.conv(torch.tanh(self.tdnn(context))).softmax(dim=2)
        mean = (attention * x).sum(dim=2, keepdim=True)
        variance = (attention * (x - mean) ** 2).sum(dim=2, keepdim=True)
        return torch.cat([mean, variance.clamp(min=1e-12).sqrt()], dim=1)


class PublishedEcapa(nn.Module):
    """ECAPA-TDNN with the layers and names of SpeechBrain's: 20 mel bins, 16 channels, embeddings of 8."""

    def __init__(self):
        super().__init__()
        blocks = [GatedRes2Net(16, 4, 6, 3, dilation) for dilation in (2, 3, 4)]
        self.blocks = nn.ModuleList([Tdnn(20, 16, 5), *blocks])
        self.mfa = Tdnn(3 * 16, 24)
        self.asp = AttentivePool(24, 10)
        self.asp_bn = WrappedNorm(48)
        self.fc = MirroredConv(48, 8)

    def forward(self, features: Tensor) -> Tensor:
        x, outputs = self.blocks[0](features.transpose(1, 2)), []
        for block in self.blocks[1:]:
            x = block(x)
            outputs.append(x)
        return self.fc(self.asp_bn(self.asp(self.mfa(torch.cat(outputs, dim=1)))))[..., 0]


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if (inputs, stride) != (outputs, 1):
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class PublishedResNet(nn.Module):
    """A ResNet with the layers and names of WeSpeaker's: 16 mel bins, 4 channels, stages of 1, 2, 1, 1 blocks."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(Residual(4, 4, 1))
        self.layer2 = nn.Sequential(Residual(4, 8, 2), Residual(8, 8, 1))
        self.layer3 = nn.Sequential(Residual(8, 16, 2))
        self.layer4 = nn.Sequential(Residual(16, 32, 2))
        self.seg_1 = nn.Linear(2 * 32 * 2, 8)

    def forward(self, features: Tensor) -> Tensor:
        x = relu(self.bn1(self.conv1(features.transpose(1, 2)[:, None])))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        # The deviation of a single frame is undefined there and zero here.
        deviation = (x.var(dim=-1) + 1e-7).sqrt() if x.shape[-1] > 1 else torch.full_like(x[..., 0], 1e-7**0.5)
        return self.seg_1(torch.cat([x.mean(dim=-1).flatten(1), deviation.flatten(1)], dim=1))


PUBLISHED = {"speechbrain-ecapa": PublishedEcapa, "wespeaker-resnet34": PublishedResNet}
MEL_BINS = {"speechbrain-ecapa": 20, "wespeaker-resnet34": 16}
KINDS = list(PUBLISHED)


def published(kind: str) -> nn.Module:
    """With normalisations that have been trained, so that a statistic that is lost would show."""
    torch.manual_seed(0)
    encoder = PUBLISHED[kind]().eval()
    for module in encoder.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for values in (module.running_mean, module.bias.data):
                values.normal_()
            for values in (module.running_var, module.weight.data):
                values.uniform_(0.5, 1.5)
    return encoder


def converted(kind: str, weights: dict[str, Tensor], folder: Path) -> ConvertedTower:
    torch.save(weights, folder / "weights.pt")
    return convert(kind, folder / "weights.pt")


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def test_every_kind_is_checked():
    assert set(PUBLISHED) == set(PUBLISHED_ENCODERS)


@torch.no_grad()
def test_converted_weights_give_the_published_embeddings(kind, tmp_path):
    encoder = published(kind)
    model = converted(kind, encoder.state_dict(), tmp_path).model
    batch = torch.randn(len(LENGTHS), max(LENGTHS), MEL_BINS[kind])  # what lies under the mask is noise
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    expected = torch.cat([encoder(row[None, :length]) for row, length in zip(batch, LENGTHS, strict=True)])
    alone = [model(row[None, :length]).pooler_output for row, length in zip(batch, LENGTHS, strict=True)]
    assert expected.std(dim=0).min() > 1e-3, "clips differ"
    assert (torch.cat(alone) - expected).abs().max() < 1e-5
    assert (model(batch, attention_mask=mask.long()).pooler_output - expected).abs().max() < 1e-5


@torch.no_grad()
def test_zeros_beyond_the_ends_are_not_what_was_published(tmp_path):
    """The oracle above can fail: it does, without reflection."""
    encoder = published("speechbrain-ecapa")
    model = converted("speechbrain-ecapa", encoder.state_dict(), tmp_path).model
    other = EcapaTdnnModel(EcapaTdnnConfig(**{**model.config.to_dict(), "padding": "zeros"})).eval()
    other.load_state_dict(model.state_dict())
    features = torch.randn(1, 30, 20)
    assert (other(features).pooler_output - encoder(features)).abs().max() > 1e-2


def test_sizes_are_read_from_the_weights(tmp_path):
    ecapa = converted("speechbrain-ecapa", published("speechbrain-ecapa").state_dict(), tmp_path).model.config
    expected = EcapaTdnnConfig(
        num_mel_bins=20, channels=16, mfa_channels=24, kernel_sizes=(5, 3, 3, 3), dilations=(1, 2, 3, 4),
        res2net_scale=4, se_channels=6, attention_channels=10, hidden_size=8, padding="reflect",
    )  # fmt: skip
    assert ecapa.to_diff_dict() == expected.to_diff_dict()
    resnet = converted("wespeaker-resnet34", published("wespeaker-resnet34").state_dict(), tmp_path).model.config
    expected = ResNet34Config(num_mel_bins=16, channels=4, block_counts=(1, 2, 1, 1), hidden_size=8)
    assert resnet.to_diff_dict() == expected.to_diff_dict()


def test_prefix_classifier_counter_and_file_type_make_no_difference(kind, tmp_path):
    weights = published(kind).state_dict()
    expected = converted(kind, weights, tmp_path).model.state_dict()
    wrapped = {f"module.model.{name}": value for name, value in weights.items() if "num_batches" not in name}
    extra = {"module.model.projection.weight": torch.zeros(5, 8)} if kind == "wespeaker-resnet34" else {}
    save_file({**wrapped, **extra}, tmp_path / "weights.safetensors")
    tower = convert(kind, tmp_path / "weights.safetensors")
    assert tower.left_out == tuple(extra)
    for name, value in tower.model.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("length", range(1, 12))
def test_reflection_is_at_the_end_of_each_clip(length):
    """Also where a clip is shorter than what is mirrored: back and forth, as numpy.pad does it."""
    clips = torch.randn(3, 2, 11)
    lengths = torch.tensor([11, length, max(1, length - 1)])
    mask = (torch.arange(11) < lengths[:, None])[:, None].float()
    for reach in (2, 4, 8):
        margin = reach // 2
        for clip, count, row in zip(clips, lengths.tolist(), _reflected(clips, mask, reach), strict=True):
            expected = np.pad(clip[:, :count].numpy(), ((0, 0), (margin, margin)), mode="reflect")
            np.testing.assert_array_equal(row[:, : count + reach].numpy(), expected)
        alone = _reflected(clips[:, :, :length], None, reach)
        expected = np.pad(clips[:, :, :length].numpy(), ((0, 0), (0, 0), (margin, margin)), mode="reflect")
        np.testing.assert_array_equal(alone.numpy(), expected)


def test_training_on_padded_clips_has_the_gradient_of_the_clips_alone(kind, tmp_path):
    model = converted(kind, published(kind).state_dict(), tmp_path).model.double().train()
    features = torch.randn(3, 40, MEL_BINS[kind], dtype=torch.float64)
    padded = torch.cat([features, torch.full((3, 17, MEL_BINS[kind]), 5.0, dtype=torch.float64)], dim=1)
    mask = (torch.arange(57) < 40).long().expand(3, -1)
    gradients = []
    for inputs in ({"input_features": features}, {"input_features": padded, "attention_mask": mask}):
        model.zero_grad()
        model(**inputs).pooler_output.square().sum().backward()
        gradients.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-7, atol=1e-9, msg=name)


def without(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("speechbrain-ecapa", lambda w: without(w, "asp_bn.norm.bias"), r"'asp_bn\.norm\.bias' is missing.*\(48,\)"),
        ("speechbrain-ecapa", lambda w: without(w, "blocks.0.conv.conv.weight"), r"'blocks\.0\.conv\.conv\.weight'"),
        ("speechbrain-ecapa", lambda w: without(w, "mfa.conv.conv.weight"), r"'mfa\.conv\.conv\.weight' is missing"),
        (
            "speechbrain-ecapa",
            lambda w: without(w, "blocks.2.res2net_block.blocks.0.conv.conv.weight"),
            r"'blocks\.2\.res2net_block\.blocks\.0\.conv\.conv\.weight' is missing",
        ),
        (
            "speechbrain-ecapa",
            lambda w: {**w, "blocks.1.shortcut.conv.weight": torch.zeros(16, 16, 1)},
            r"'blocks\.1\.shortcut\.conv\.weight' is unknown .*expected blocks\.\*, mfa\.\*",
        ),
        (
            "speechbrain-ecapa",
            lambda w: {**w, "asp.tdnn.conv.conv.weight": torch.zeros(10, 24, 1)},  # without the global context
            r"'asp\.tdnn\.conv\.conv\.weight' has the shape \(10, 24, 1\), expected \(10, 72, 1\)",
        ),
        (
            "speechbrain-ecapa",
            lambda w: {**w, "fc.conv.weight": torch.zeros(8, 48)},
            r"'fc\.conv\.weight' has the shape \(8, 48\), expected \(embedding, statistics, 1\)",
        ),
        (
            "speechbrain-ecapa",
            lambda w: {**w, "fc.conv.bias": torch.full((8,), torch.nan)},
            r"'fc\.conv\.bias' holds numbers that are not finite",
        ),
        (
            "speechbrain-ecapa",
            lambda w: {**w, "fc.conv.bias": torch.zeros(8, dtype=torch.int8)},
            r"'fc\.conv\.bias' holds torch\.int8, expected torch\.float32",
        ),
        (
            "wespeaker-resnet34",
            lambda w: {**w, "seg_2.weight": torch.zeros(8, 8)},
            r"'seg_2\.weight' is unknown \(1 in all\); expected conv1\.\*, bn1\.\*, layer1\.\*",
        ),
        (
            "wespeaker-resnet34",
            lambda w: without(w, "layer2.0.shortcut.1.running_var"),
            r"'layer2\.0\.shortcut\.1\.running_var' is missing; expected \(8,\)",
        ),
        (
            "wespeaker-resnet34",
            lambda w: {**w, "seg_1.weight": torch.zeros(8, 100)},
            r"'seg_1\.weight' has the shape \(8, 100\), expected a multiple of 64",
        ),
        (
            "wespeaker-resnet34",
            lambda w: without(w, "layer3.0.conv1.weight"),
            r"'layer3\.0\.conv1\.weight' is missing",
        ),
        ("wespeaker-resnet34", lambda w: {"a": "b"}, r"'a' is a str, expected a tensor"),
        ("wespeaker-resnet34", lambda w: {1: torch.zeros(1)}, r"'1' is a Tensor, expected a tensor and its name"),
        (
            "wespeaker-resnet34",
            lambda w: {**w, "conv1.weight": torch.zeros(0, 1, 3, 3)},
            r"'conv1\.weight' has the shape \(0, 1, 3, 3\), expected \(channels, 1, 3, 3\)",
        ),
        ("wespeaker-resnet34", lambda w: [1, 2], r"holds a list, expected tensors by name"),
    ],
)
def test_what_does_not_fit_is_named(kind, change, message, tmp_path):
    with pytest.raises(ModelFolderError, match=r"weights\.pt: .*" + message) as caught:
        converted(kind, change(published(kind).state_dict()), tmp_path)
    assert "\n" not in str(caught.value)


class Dangerous:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors", "weights.bin"])
def test_nothing_is_unpickled(name, kind, tmp_path):
    (tmp_path / name).write_bytes(pickle.dumps(Dangerous(tmp_path / "touched")))
    with pytest.raises(ModelFolderError, match=r"cannot be read .* nothing else is unpickled") as caught:
        convert(kind, tmp_path / name)
    assert not (tmp_path / "touched").exists() and "\n" not in str(caught.value)
    torch.save({"a": torch.zeros(1), "b": Dangerous(tmp_path / "touched")}, tmp_path / "mixed.pt")
    with pytest.raises(ModelFolderError, match="cannot be read"):
        convert(kind, tmp_path / "mixed.pt")
    assert not (tmp_path / "touched").exists()


def test_files_that_hold_no_weights_are_refused(kind, tmp_path):
    whole = tmp_path / "whole.pt"
    torch.save(published(kind).state_dict(), whole)
    (tmp_path / "cut.pt").write_bytes(whole.read_bytes()[:5000])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    for name in ("cut.pt", "empty.safetensors"):
        with pytest.raises(ModelFolderError, match=f"{name}: cannot be read"):
            convert(kind, tmp_path / name)
    for path in (tmp_path / "gone.pt", tmp_path):
        with pytest.raises(ModelFolderError, match="no such file"):
            convert(kind, path)


FRONT_ENDS = {"speechbrain-ecapa": ("speechbrain", 0.0), "wespeaker-resnet34": ("kaldi", 20.0)}


def test_a_tower_folder_is_whole_and_never_replaces_another(kind, tmp_path):
    tower = converted(kind, published(kind).state_dict(), tmp_path)
    folder = tmp_path / "made" / "tower"
    write_tower(tower, folder)
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= {p.name for p in folder.iterdir()}
    assert [p.name for p in folder.parent.iterdir()] == ["tower"], "nothing is left beside it"
    features = json.loads((folder / "preprocessor_config.json").read_text())
    assert (features["front_end"], features["low_hz"]) == FRONT_ENDS[kind]
    assert (features["normalize"], features["num_mel_bins"]) == ("utterance", MEL_BINS[kind])
    loaded = load_tower(str(folder))
    assert loaded.config.to_diff_dict() == tower.model.config.to_diff_dict()
    for name, value in tower.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    with pytest.raises(ModelFolderError, match="tower: exists"):
        write_tower(tower, folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFolderError, match="cannot be written"):
        write_tower(tower, tmp_path / "file" / "tower")


def test_a_recipe_trains_a_converted_tower(kind, tmp_path, text_folder):
    encoder = published(kind)
    write_tower(converted(kind, encoder.state_dict(), tmp_path), tmp_path / "tower")
    # As the recipes of Table 1 with `--set model.speech.pretrained=FOLDER`: their sizes stay beside the folder.
    sizes = {"model_type": {"speechbrain-ecapa": "raclap_ecapa_tdnn"}.get(kind, "raclap_resnet34")}
    speech = {"pretrained": str(tmp_path / "tower"), "config": sizes}
    recipe = ModelRecipe(speech=speech, text={"pretrained": str(text_folder)}, projection_dim=16)
    model, processor = build_model(recipe)
    assert processor.feature_extractor.front_end == FRONT_ENDS[kind][0]
    assert processor.feature_extractor.normalize == "utterance"
    rng = np.random.default_rng(0)
    clips = [tone(pitch, 0.3, seconds, rng) for pitch, seconds in ((120.0, 0.4), (220.0, 0.7), (400.0, 0.5))]
    batch = processor(text=["a low voice", "a normal voice", "a high voice"], audio=clips, sampling_rate=RATE)
    with torch.no_grad():  # the embedding of a recording is the published one, through its own features
        length = int(batch["audio_attention_mask"][0].sum())
        pooled = model.audio_model(batch["input_features"], batch["audio_attention_mask"]).pooler_output
        expected = encoder(batch["input_features"][:1, :length])
    assert (pooled[:1] - expected).abs().max() < 1e-4 * expected.abs().max()
    optimizer = torch.optim.Adam(model.train().parameters(), lr=1e-2)
    start = {name: value.clone() for name, value in model.audio_model.state_dict().items()}
    losses = []
    for _ in range(3):
        loss = model(**batch, return_loss=True).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(not torch.equal(value, start[name]) for name, value in model.audio_model.state_dict().items())


def test_a_recipe_names_sizes_that_the_folder_has_not(tmp_path, text_folder):
    tower = converted("speechbrain-ecapa", published("speechbrain-ecapa").state_dict(), tmp_path)
    write_tower(tower, tmp_path / "tower")
    speech = {"pretrained": str(tmp_path / "tower"), "config": {"channels": 32}}
    with pytest.raises(ModelFolderError, match="tower: cannot be loaded"):
        build_model(ModelRecipe(speech=speech, text={"pretrained": str(text_folder)}))
    (tmp_path / "tower" / "preprocessor_config.json").unlink()
    recipe = ModelRecipe(speech={"pretrained": str(tmp_path / "tower")}, text={"pretrained": str(text_folder)})
    with pytest.raises(ModelFolderError, match="tower: no feature extractor"):
        build_model(recipe)
