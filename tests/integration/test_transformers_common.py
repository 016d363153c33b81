"""The common model tests of transformers, run on `RaClapModel`.

They are not in the wheel but in the source distribution of the same version:

    pip download --no-deps --no-binary transformers transformers==VERSION && tar xzf transformers-VERSION.tar.gz
    TRANSFORMERS_TESTS=transformers-VERSION/tests python -m pytest tests/integration/test_transformers_common.py

Without the folder these are skipped; `tests/unit/test_common_model.py` checks the same properties without it.
"""

import importlib
import os
import sys
import types
import unittest
from pathlib import Path

import pytest
import torch

from modeling_raclap import RaClapModel
from tower_families import BATCH, TOKENS, audio_inputs, family_config, text_inputs

FOLDER = os.environ.get("TRANSFORMERS_TESTS")
if FOLDER is None:
    pytest.skip("no tests of transformers (set TRANSFORMERS_TESTS to their folder)", allow_module_level=True)
pytest.importorskip("parameterized")
pytestmark = pytest.mark.filterwarnings("ignore")
_PACKAGE = "transformers_tests"
# Bases that only other models need and a source distribution leaves out: generating text, and exporting whole models.
_LEFT_OUT = {"exporters.test_export": "ExportTesterMixin", "generation.test_utils": "GenerationTesterMixin"}


def common_tests(folder: Path) -> types.ModuleType:
    """`test_modeling_common` of the folder; it imports its siblings relatively."""
    package = types.ModuleType(_PACKAGE)
    package.__path__ = [str(folder)]
    sys.modules[_PACKAGE] = package
    for place, base in _LEFT_OUT.items():
        if (folder / f"{place.replace('.', '/')}.py").is_file():
            continue
        parent = types.ModuleType(f"{_PACKAGE}.{place.partition('.')[0]}")
        parent.__path__ = []
        module = types.ModuleType(f"{_PACKAGE}.{place}")
        setattr(module, base, type(base, (), {}))
        sys.modules |= {parent.__name__: parent, module.__name__: module}
    return importlib.import_module(f"{_PACKAGE}.test_modeling_common")


_COMMON = common_tests(Path(FOLDER))


class ModelTester:
    """What the common tests ask of a model under test: its sizes, a configuration, and inputs."""

    batch_size, seq_length, is_training = BATCH, TOKENS, True
    num_hidden_layers, num_attention_heads, hidden_size = 2, 2, 32

    def __init__(self, family: str):
        self.family = family

    def get_config(self):
        return family_config(self.family)

    def prepare_config_and_inputs_for_common(self):
        torch.manual_seed(0)
        return self.get_config(), {**text_inputs(), **audio_inputs(self.family)}


class CommonTests(_COMMON.ModelTesterMixin):
    """All of them; those that look for states and attentions on the joint output look for them on each tower's."""

    all_model_classes = (RaClapModel,)
    _is_composite = True
    test_can_init_all_missing_weights_before_2023 = True
    additional_model_inputs = ("input_values", "input_features", "audio_attention_mask")
    family: str
    towers = ("text_model_output", "audio_model_output")

    def setUp(self):
        self.model_tester = ModelTester(self.family)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class)
        return {**inputs, "return_loss": True} if return_labels else inputs

    def _outputs(self, implementation: str | None = None, grad: bool = False, **wanted: bool):
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = RaClapModel._from_config(config, attn_implementation=implementation).eval()
        with torch.set_grad_enabled(grad):
            return model(**inputs, **wanted, return_loss=True)

    def test_attention_outputs(self):
        outputs = self._outputs("eager", output_attentions=True)
        for tower in self.towers:
            attentions, states = outputs[tower].attentions, outputs[tower].last_hidden_state
            self.assertEqual(len(attentions), 2)
            self.assertEqual(attentions[0].shape, (BATCH, 2, states.shape[1], states.shape[1]))

    def test_hidden_states_output(self):
        outputs = self._outputs(output_hidden_states=True)
        for tower in self.towers:
            states, last = outputs[tower].hidden_states, outputs[tower].last_hidden_state
            self.assertEqual([state.shape for state in states], [last.shape] * 3)

    def test_retain_grad_hidden_states_attentions(self):
        outputs = self._outputs("eager", grad=True, output_attentions=True, output_hidden_states=True)
        kept = [
            tensor
            for tower in self.towers
            for tensor in (outputs[tower].hidden_states[0], outputs[tower].attentions[0])
        ]
        for tensor in kept:
            tensor.retain_grad()
        outputs.loss.backward()
        for tensor in kept:
            self.assertGreater(tensor.grad.abs().sum().item(), 0.0)


class TestWavLM(CommonTests, unittest.TestCase):
    family = "wavlm"


class TestWhisper(CommonTests, unittest.TestCase):
    family = "whisper"


class TestEcapaTdnn(CommonTests, unittest.TestCase):
    family = "ecapa-tdnn"
    towers = ("text_model_output",)
    skip_test_audio_features_output_shape = True  # its last states are wider than its embedding

    def _audio_features_get_expected_num_attentions(self, model_tester=None):
        return 3  # blocks after the first

    @unittest.skip("a speaker encoder of convolutions has no attention")
    def test_get_audio_features_attentions(self):
        pass
