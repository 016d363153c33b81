"""ParaSpeechCaps: the Parquet files of the Hub with all their columns, and one folder of recordings a source."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from corpus_fixtures import Release, write_tone

SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("relative_audio_path", pa.string()),
        ("text_description", pa.list_(pa.string())),
        ("transcription", pa.string()),
        ("intrinsic_tags", pa.list_(pa.string())),
        ("situational_tags", pa.list_(pa.string())),
        ("basic_tags", pa.list_(pa.string())),
        ("all_tags", pa.list_(pa.string())),
        ("speakerid", pa.string()),
        ("name", pa.string()),
        ("duration", pa.float64()),
        ("gender", pa.string()),
        ("accent", pa.string()),
        ("pitch", pa.string()),
        ("speaking_rate", pa.string()),
        ("noise", pa.string()),
        ("utterance_pitch_mean", pa.float32()),
        ("snr", pa.float64()),
        ("phonemes", pa.string()),
    ]
)
VOXCELEB = {
    "source": "voxceleb",
    "relative_audio_path": "voxceleb1/dev/wav/id10270/5r0dWxy17C8/00001_voicefixer.wav",
    "text_description": ["A deep, loud male voice speaks at a measured pace."],
    "transcription": "and, well, that was it",
    "intrinsic_tags": ["deep", "loud"],
    "situational_tags": None,
    "basic_tags": ["male", "low-pitched", "measured speed", "clean environment"],
    "all_tags": ["deep", "loud", "male", "low-pitched", "measured speed", "clean environment"],
    "speakerid": "id10270",
    "name": "Eartha_Kitt",
    "duration": 0.3,
    "gender": "male",
    "accent": "American accent",
    "pitch": "low-pitched",
    "speaking_rate": "measured speed",
    "noise": "clean environment",
    "utterance_pitch_mean": 110.0,
    "snr": 50.1,
    "phonemes": "æ n d",
}
EXPRESSO = {
    **VOXCELEB,
    "source": "expresso",
    "relative_audio_path": "audio_48khz/read/ex01/whisper/base/ex01_whisper_00001.wav",
    "text_description": ["She whispers.", "She whispers in a husky voice."],
    "intrinsic_tags": ["husky"],
    "situational_tags": ["whispered", "loud"],
    "basic_tags": None,
    "speakerid": "ex01",
    "gender": "female",
    "accent": None,
    "pitch": None,
    "speaking_rate": "fast speed",
    "noise": None,
}
EMILIA = {
    **VOXCELEB,
    "source": "emilia",
    "relative_audio_path": "EN/EN_B00030/EN_B00030_S01984/mp3/EN_B00030_S01984_W000037.flac",
    "speakerid": "EN_B00030_S01984",
    "intrinsic_tags": None,
    "basic_tags": None,
}
EARS = {**EXPRESSO, "source": "ears", "relative_audio_path": "p001/emo_adoration_sentences.wav", "speakerid": "p001"}
SHARDS = {
    "train_base-00000-of-00001": [VOXCELEB, EXPRESSO],
    "train_scaled-00000-of-00002": [EMILIA],
    "train_scaled-00001-of-00002": [{**EMILIA, "relative_audio_path": "EN/EN_B00001/x.wav"}],
    "dev-00000-of-00001": [EARS],
    "holdout-00000-of-00001": [{**EARS, "relative_audio_path": "p107/vegetative_eating.wav", "speakerid": "p107"}],
}


def write_shard(path: Path, rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def make(folder: Path) -> Release:
    """The data set in one folder, recordings in another."""
    for name, rows in SHARDS.items():
        write_shard(folder / "paraspeechcaps" / "data" / f"{name}.parquet", rows)
        for row in rows:
            write_tone(folder / "audio" / row["source"] / row["relative_audio_path"])
    return Release(
        root=folder / "paraspeechcaps",
        recording=folder / "audio" / "voxceleb" / VOXCELEB["relative_audio_path"],
        pairs=6,
        options={"audio_root": folder / "audio"},
    )
