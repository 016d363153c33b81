"""MSP-Podcast: every class, unknown speakers and sexes, every set of the release, the stereo file."""

from pathlib import Path

import numpy as np
import soundfile

from corpus_fixtures import Release, write_tone

TABLE = "Labels/labels_consensus.csv"
HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"
ROWS = (
    "MSP-PODCAST_0001_0001.wav,A,6.5,1.5,6.0,30,Male,Train",
    "MSP-PODCAST_0001_0002.wav,H,5.5,6.5,4.0,39,Female,Train",
    "MSP-PODCAST_0001_0003.wav,N,3.777778,4.0,4.0,39,Female,Train",
    "MSP-PODCAST_0001_0004.wav,X,4.0,4.2,4.1,Unknown,Unknown,Train",
    "MSP-PODCAST_0001_0005.wav,S,1.5,2.0,2.0,30,Male,Train",
    "MSP-PODCAST_1023_0235.wav,C,3.0,3.0,5.0,41,Male,Train",
    "MSP-PODCAST_0002_0001.wav,U,6.9,5.0,3.0,50,Female,Development",
    "MSP-PODCAST_0002_0002.wav,D,4.0,2.0,4.0,51,Male,Validation",
    "MSP-PODCAST_0003_0001.wav,F,5.0,2.0,1.0,60,Female,Test1",
    "MSP-PODCAST_0004_0001.wav,N,4.0,4.0,4.0,Unknown,Male,Test2",
    "MSP-PODCAST_0005_0001.wav,H,5.0,6.0,4.0,70,Female,Test3",
    "MSP-PODCAST_0003_0002.wav,O,2.0,4.0,6.9,60,Female,Test1",
)


def make(root: Path) -> Release:
    (root / TABLE).parent.mkdir(parents=True)
    (root / TABLE).write_text("\n".join((HEADER, *ROWS)) + "\n")
    for place, row in enumerate(ROWS):
        name = row.split(",")[0]
        path = write_tone(root / "Audios" / name, pitch=120.0 + 20 * place)
        if "1023_0235" in name:
            samples, rate = soundfile.read(path)
            soundfile.write(path, np.stack([samples, samples], axis=1), rate)
    (root / "Transcripts").mkdir()
    (root / "Transcripts" / "MSP-PODCAST_0001_0001.txt").write_text("And he \u2014 he just left.\n", encoding="utf-8")
    return Release(root, root / "Audios" / "MSP-PODCAST_0001_0002.wav", pairs=10, left_out=2, table=root / TABLE)
