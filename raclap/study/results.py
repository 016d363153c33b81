"""What each model of the study does on each test set and by each protocol, kept so that it is computed once."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.collection import read_split
from raclap.data.inspection import Inspection
from raclap.model_folder import load_model_folder
from raclap.processes import join_processes
from raclap.retrieval.embed import PairEmbeddings, embed_pairs
from raclap.retrieval.metrics import rank_pairs
from raclap.retrieval.ordinality import DIMENSIONS, TAUS, OrdinalityScores, order_labels, rank_order
from raclap.retrieval.protocol import load_protocol
from raclap.retrieval.relevance import StyleRelevance
from raclap.retrieval.zero_shot import classify_manifest
from raclap.study.classified import ProtocolValues
from raclap.study.plan import Job, Plan
from raclap.study.values import MADE_FROM, ResultsError, TestValues


class TestSets:
    """The test sets of a study, and how its models do on them.

    Args:
        plan: of the study.
    """

    __test__ = False  # pytest takes it for a class of tests by its name

    def __init__(self, plan: Plan):
        self._plan = plan
        self._audio: dict[tuple[str, str], Inspection] = {}
        self._hashes: dict[Path, str] = {}

    def path(self, job: Job, corpus: str) -> Path:
        """Where the values of a job on a corpus are kept."""
        return self._plan.tests(job) / f"{corpus}.parquet"

    def protocol_path(self, job: Job, protocol: str) -> Path:
        """Where what a job says by a protocol is kept."""
        return self._plan.tests(job) / "protocols" / f"{protocol}.parquet"

    def renew(self, job: Job) -> bool:
        """Tests a finished job wherever its values are missing, or are of another model, manifest or protocol.

        Where the model itself is gone, the values that are there stand.

        Returns:
            Whether anything had to be computed.

        Raises:
            ManifestError, AudioError: a test split is not as it should be, or lacks the labels of a protocol.
            ResultsError, OrderError: the order of emotions is asked for where valence or arousal is not known, or the
                same everywhere.
        """
        weights = sorted(self._plan.export(job).glob("*.safetensors"))
        if not weights:
            return False
        wanted = self._wanted(job, _sha256(weights))
        if all(_made_from(path) == made_from for path, made_from in wanted.items()):
            return False
        print(f"{job}: testing", flush=True)
        model, processor = load_model_folder(self._plan.export(job))
        model = model.to(join_processes().device)
        for corpus in self._plan.tests_of(job.run):
            self._renew_corpus(job, corpus, model, processor, wanted)
        return True

    def read(self, job: Job) -> dict[str, TestValues] | None:
        """The values of a job by corpus; None unless they are there for every corpus that it is tested on.

        Values without the order of emotions, of a model that is gone, are not there where the plan asks for it.
        """
        paths = {corpus: self.path(job, corpus) for corpus in self._plan.tests_of(job.run)}
        if not all(path.is_file() for path in paths.values()):
            return None
        found = {corpus: TestValues.read(path) for corpus, path in paths.items()}
        ordered = all(found[corpus].has(tau) for corpus in found if corpus in self._plan.ordinality for tau in TAUS)
        return found if ordered else None

    def read_protocols(self, job: Job) -> dict[str, ProtocolValues] | None:
        """What a job says by each protocol; None unless it is there for every one on its corpora."""
        paths = {name: self.protocol_path(job, name) for name in self._plan.protocols_of(job.run)}
        if not all(path.is_file() for path in paths.values()):
            return None
        return {name: ProtocolValues.read(path) for name, path in paths.items()}

    def _wanted(self, job: Job, model: str) -> dict[Path, str]:
        """What the values of a job are to be made from, by their files."""
        plan, wanted = self._plan, {}
        for corpus in plan.tests_of(job.run):
            order = " ordinality" if corpus in plan.ordinality else ""
            wanted[self.path(job, corpus)] = f"{model} {self._hash(Path(plan.corpora[corpus]))}{order}"
        for name in plan.protocols_of(job.run):
            protocol = plan.protocols[name]
            manifest = self._hash(Path(plan.corpora[protocol.corpus]))
            wanted[self.protocol_path(job, name)] = f"{model} {manifest} {self._hash(protocol.file)}"
        return wanted

    def _renew_corpus(
        self, job: Job, corpus: str, model: RaClapModel, processor: RaClapProcessor, wanted: dict[Path, str]
    ) -> None:
        own = self.path(job, corpus)
        here = [name for name in self._plan.protocols_of(job.run) if self._plan.protocols[name].corpus == corpus]
        names = {self.protocol_path(job, name): name for name in here}
        old = [path for path in (own, *names) if _made_from(path) != wanted[path]]
        if not old:
            return
        audio = self._inspected(corpus, processor)
        embeds = embed_pairs(model, processor, audio)
        pair_ids = audio.manifest.column("pair_id")
        for path in old:
            if path == own:
                scores = rank_pairs(embeds.audio, embeds.text, StyleRelevance.from_manifest(audio.manifest))
                order = _order(audio, embeds) if corpus in self._plan.ordinality else None
                found = TestValues.of(scores, pair_ids, audio.manifest.column("speaker"), order)
            else:
                protocol = load_protocol(self._plan.protocols[names[path]].file)
                clips = classify_manifest(model, processor, audio, protocol, embeds.audio)
                found = ProtocolValues.of(clips, pair_ids, protocol.classes)
            found.write(path, wanted[path])

    def _inspected(self, corpus: str, processor: RaClapProcessor) -> Inspection:
        """The decoded test split; models that hear alike share it."""
        features = processor.feature_extractor
        key = (corpus, json.dumps(features.to_dict(), sort_keys=True, default=str))
        if key not in self._audio:
            self._audio[key] = read_split(self._plan.corpora[corpus], "test", features, keep=True)
        return self._audio[key]

    def _hash(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = _sha256([path])
        return self._hashes[path]


def _order(corpus: Inspection, embeds: PairEmbeddings) -> OrdinalityScores:
    labels = order_labels(corpus.manifest)
    missing = [dimension for dimension in DIMENSIONS if dimension not in labels]
    if missing:
        raise ResultsError(
            f"{corpus.manifest.path}: no test row has a value in the column '{missing[0]}'; the plan's key "
            f"'ordinality' is for corpora with {' and '.join(DIMENSIONS)}"
        )
    return rank_order(embeds.audio, embeds.text, labels)


def _sha256(paths: Sequence[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def _made_from(path: Path) -> str | None:
    if not path.is_file():
        return None
    return (pq.read_schema(path).metadata or {}).get(MADE_FROM, b"").decode()
