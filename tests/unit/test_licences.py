"""What licences of data mean for weights; nothing that is not known is guessed at."""

import importlib
import pkgutil

import pytest

import raclap.corpora
from raclap.data.facts import NOT_STATED
from raclap.hub.licences import CATALOGUE, find_licence, licence_of_weights

NC, NC_SA, ND = "CC BY-NC 4.0", "CC BY-NC-SA 4.0", "CC BY-NC-ND 4.0"
IEMOCAP = "IEMOCAP: for research only"


def test_every_licence_that_a_reader_writes_is_known():
    modules = [
        importlib.import_module(f"raclap.corpora.{m.name}") for m in pkgutil.iter_modules(raclap.corpora.__path__)
    ]
    written = {module.LICENCE for module in modules if hasattr(module, "LICENCE")}
    assert len(written) >= 9
    assert all(find_licence(name) in CATALOGUE and find_licence(name).commercial is not None for name in written)


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("cc-by-nc-sa-4.0", NC_SA), ("CC-BY-NC-SA 4.0 International", NC_SA), ("CC0 1.0", "CC0-1.0"),
        ("cc by 4.0", "CC BY 4.0"), ("mit", "MIT"), ("Public Domain", "public domain"),
        ("odbl", "ODbL 1.0 and DbCL 1.0"),
    ],
)  # fmt: skip
def test_spellings_do_not_count(stated, name):
    assert find_licence(stated).name == name and find_licence(stated) in CATALOGUE


@pytest.mark.parametrize("stated", ["CC BY", "by", "CC BY-NC 5.0", "ask my aunt", "IEMOCAP"])
def test_what_is_not_known_stays_so(stated):
    found = find_licence(stated)
    assert found.name == stated and found not in CATALOGUE
    assert found.commercial is None and found.hub_id is None and not found.hand_on


def test_conditions_follow_from_the_names():
    for licence in CATALOGUE:
        if licence.name.startswith("CC BY"):
            parts = licence.name.split()[1].split("-")
            assert licence.commercial == ("NC" not in parts) and licence.hand_on == ("ND" not in parts)
            assert licence.binds == (len(parts) > 1)
        if "research only" in licence.name or licence.name.startswith("MSP"):
            assert licence.commercial is False and licence.hub_id is None and not licence.hand_on


@pytest.mark.parametrize(
    ("corpora", "hub_id", "name"),
    [
        ({"a": ["CC0-1.0"], "b": ["CC BY 4.0", "ODbL 1.0 and DbCL 1.0"]}, "apache-2.0", None),
        ({"a": ["CC0-1.0"], "b": [NC_SA]}, "cc-by-nc-sa-4.0", None),
        ({"a": [NC_SA], "b": ["cc-by-nc-sa-4.0"]}, "cc-by-nc-sa-4.0", None),
        ({"a": ["CC BY-SA 4.0"]}, "cc-by-sa-4.0", None),
        ({"a": [NC_SA], "b": [ND]}, "other", "cc-by-nc-nd-4.0-and-cc-by-nc-sa-4.0"),
        ({"a": [IEMOCAP]}, "other", "iemocap-for-research-only"),
        ({"a": ["CC BY-ND 2.0"]}, "other", "cc-by-nd-2.0"),
        ({"a": ["ask my aunt"]}, "other", "ask-my-aunt"),
        ({"a": [NC_SA], "b": []}, "unknown", None),
        ({"a": ["CC0-1.0", NOT_STATED]}, "unknown", None),
        ({}, "unknown", None),
    ],
)
def test_the_licence_of_weights(corpora, hub_id, name):
    found = licence_of_weights(corpora)
    assert (found.hub_id, found.name) == (hub_id, name)


def test_statements_name_corpora_and_licences():
    found = licence_of_weights({"r": [NC_SA], "i": [IEMOCAP], "x": ["ask my aunt"], "y": [], "z": ["CC0-1.0"]})
    closed, strange, unstated = found.statements
    assert closed == f"Non-commercial use only: trained on r ({NC_SA}) and i ({IEMOCAP})."
    assert strange.startswith("Trained on x (ask my aunt): what this licence allows is not known here")
    assert unstated.startswith("The licence of y is not stated")
    assert licence_of_weights({"z": ["CC0-1.0"], "s": ["CC BY-SA 4.0"]}).statements == ()
