"""An exported folder through the libraries that people load models with, where this repository cannot be imported."""

import shutil
from typing import Any

import numpy as np
import pytest
import soundfile
from test_remote_code import build

from conftest import RATE, tone
from fresh_process import run_elsewhere
from raclap.hub.export import export

for library in ("accelerate", "peft", "sentence_transformers"):
    pytest.importorskip(library)
# What each check prints: the largest difference of an embedding from that of the model as AutoModel loads it.
PROBE = """
import soundfile, torch
torch.set_num_threads(1)
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor, pipeline
folder, *paths = sys.argv[1:]
load = lambda **options: AutoModel.from_pretrained(folder, trust_remote_code=True, **options).eval()
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
clips, rate = [soundfile.read(path, dtype="float32")[0] for path in paths], soundfile.info(paths[0]).samplerate
captions = ["a low voice", "the person speaks in a high tone and it is loud"]
inputs = {"text": processor(text=captions), "audio": processor(audio=clips, sampling_rate=rate)}
model = load()
found = {"classes": [type(auto.from_pretrained(folder, trust_remote_code=True)).__name__
                     for auto in (AutoConfig, AutoFeatureExtractor, AutoProcessor)]}

@torch.no_grad()
def embed(of):
    return {tower: getattr(of, f"get_{tower}_features")(**inputs[tower]).pooler_output for tower in inputs}

def differ(embeds, expected=None):
    expected = expected or embed(model)
    return max((embeds[tower].float().cpu() - expected[tower]).abs().max().item() for tower in embeds)

def check(function):
    found[function.__name__] = function()
"""
PIPELINES = """
@check
def classification():
    classify = pipeline("zero-shot-audio-classification", model=folder, trust_remote_code=True)
    scores = classify(clips[0], candidate_labels=["low", "loud"], hypothesis_template="a {} voice")
    with torch.no_grad():
        output = model(**processor(text=["a low voice", "a loud voice"], audio=clips[0], sampling_rate=rate))
    expected = dict(zip(["low", "loud"], output.logits_per_audio[0].softmax(-1).tolist()))
    return max(abs(score["score"] - expected[score["label"]]) for score in scores)

@check
def features():
    extract = pipeline("feature-extraction", model=folder, trust_remote_code=True)
    return differ({"text": torch.tensor([extract(caption)[0] for caption in captions])})
"""
DEVICES_AND_TYPES = """
@check
def auto_device():
    return differ(embed(load(device_map="auto")))

@check
def disk():
    from accelerate.utils import compute_module_sizes
    memory = {"cpu": compute_module_sizes(model)[""] // 2}
    spread = load(device_map="auto", max_memory=memory, offload_folder="offload")
    found["places"] = sorted(set(spread.hf_device_map.values()))
    return differ(embed(spread))

@check
def half():
    rough = load(dtype=torch.bfloat16)
    found["dtypes"] = [str(rough.dtype), str(load(dtype="auto").dtype)]
    return differ(embed(rough))

@check
def compiled():
    graphs = {tower: torch.compile(getattr(model, f"get_{tower}_features"), fullgraph=True) for tower in inputs}
    with torch.no_grad():
        return differ({tower: graphs[tower](**inputs[tower]).pooler_output for tower in inputs})
"""
ADAPTERS = """
from peft import LoraConfig, PeftModel, get_peft_model
names = {name.split(".")[-1] for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}
targets = sorted(names & {"q_proj", "k_proj", "v_proj", "query", "value", "fc"})
adapted = get_peft_model(load(), LoraConfig(target_modules=targets, init_lora_weights=False)).eval()
corrected = embed(adapted)
found["corrections"] = [(corrected[tower] - embed(model)[tower]).abs().max().item() for tower in inputs]
with torch.no_grad():
    attentive = adapted.get_audio_features(**inputs["audio"], output_attentions=True).pooler_output
found["with_attentions"] = differ({"audio": attentive}, corrected)
adapted.save_pretrained("adapter")
restored = PeftModel.from_pretrained(load(), "adapter").eval()
found["restored"] = differ(embed(restored), corrected)
merged = restored.merge_and_unload()
found["merged"], found["merged_class"] = differ(embed(merged), corrected), type(merged).__name__
"""
SENTENCES = """
from sentence_transformers import SentenceTransformer
encoder = SentenceTransformer(folder, trust_remote_code=True)
encode = lambda items: encoder.encode(items, convert_to_tensor=True)
found["texts"] = differ({"text": encode(captions)})
found["arrays"] = differ({"audio": encode([{"array": clip, "sampling_rate": rate} for clip in clips])})
found["paths"] = differ({"audio": encode(paths)})
found["lengths"] = torch.cat([encode(captions), encode(paths)]).norm(dim=-1).tolist()
with torch.no_grad():
    cosines = embed(model)["audio"] @ embed(model)["text"].T
found["similarity"] = (encoder.similarity(encode(paths), encode(captions)) - cosines).abs().max().item()
found["dimension"] = encoder.get_embedding_dimension()
"""
REPORT = "print(json.dumps(found))"


@pytest.fixture(scope="module", params=["ecapa-tdnn", "wavlm"])
def found(request, tmp_path_factory) -> dict[str, Any]:
    """All checks in one process, since starting it takes longest."""
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        pytest.skip("torch.compile needs a C compiler")
    work = tmp_path_factory.mktemp("elsewhere")
    export(*build(request.param), work / "model", "a card")
    rng = np.random.default_rng(0)
    paths = [work / f"{name}.wav" for name in ("long", "short")]
    for path, seconds in zip(paths, (0.6, 0.35), strict=True):
        soundfile.write(path, tone(200, 0.3, seconds, rng), RATE, subtype="FLOAT")
    parts = (PROBE, PIPELINES, DEVICES_AND_TYPES, ADAPTERS, SENTENCES, REPORT)
    return {"speech": request.param, **run_elsewhere("\n".join(parts), work, work / "model", *paths)}


def test_auto_classes(found):
    assert found["classes"] == ["RaClapConfig", "RaClapFeatureExtractor", "RaClapProcessor"]


def test_pipelines_are_built_from_the_folder_alone(found):
    assert found["classification"] < 1e-5 and found["features"] < 1e-5


def test_device_map_spreads_the_model(found):
    assert found["places"] == ["cpu", "disk"]
    assert found["auto_device"] < 1e-6 and found["disk"] < 1e-6


def test_half_precision_is_near(found):
    assert found["dtypes"] == ["torch.bfloat16", "torch.float32"]
    assert 0 < found["half"] < 0.05


def test_one_graph_holds_a_padded_batch(found):
    assert found["compiled"] < 1e-5


def test_adapters_act_and_can_be_saved_and_merged(found):
    audio, text = found["corrections"][1], found["corrections"][0]
    assert text > 1e-3 and audio > 1e-3, "what is learned beside the layers counts"
    assert found["with_attentions"] < 1e-5
    assert found["restored"] < 1e-6 and found["merged"] < 1e-5 and found["merged_class"] == "RaClapModel"


def test_sentence_transformers_encode_texts_and_audio(found):
    assert max(found[kind] for kind in ("texts", "arrays", "paths", "similarity")) < 1e-5
    assert found["lengths"] == pytest.approx([1.0] * 4, abs=1e-5) and found["dimension"] == 32
