"""ESD: four English and four Mandarin speakers, with files of sentences in every encoding of the release."""

from pathlib import Path

from corpus_fixtures import Release, write_tone

SENTENCES = {
    "0001": ("gb2312", "打远一看，它们的确很是美丽，"),
    "0003": ("utf-16", "一九四零年，"),
    "0007": ("utf-8", "他对谁都那么友好，"),
    "0010": ("utf-16-le", "到了中午，"),
    "0011": ("utf-8", "The nine the eggs, I keep."),
    "0016": ("cp1252", "You don\u2019t say, caf\u00e9 \u2013 no."),
    "0018": ("gb18030", "That\u2019s the way."),
    "0019": ("utf-16", "It\u2019s a test."),
}
EMOTIONS = {"Angry": "生气", "Happy": "快乐", "Neutral": "中立", "Sad": "伤心", "Surprise": "惊喜"}


def make(root: Path) -> Release:
    for row, (speaker, (encoding, sentence)) in enumerate(SENTENCES.items()):
        chosen = EMOTIONS if speaker in ("0001", "0011") else ("Sad",)
        lines = []
        for place, emotion in enumerate(chosen):
            name = f"{speaker}_{1000 + place:06d}"
            write_tone(root / speaker / emotion / f"{name}.wav", pitch=100.0 + 10 * row + 30 * place)
            said = EMOTIONS[emotion] if speaker < "0011" else emotion
            lines.append(f"{name}\t{sentence}\t{said}")
        (root / speaker / f"{speaker}.txt").write_bytes(("\r\n".join(lines) + "\r\n\r\n").encode(encoding))
    # As released: no tab before the emotion, and a recording that has no line.
    with (root / "0011" / "0011.txt").open("a") as file:
        file.write("0011_002000\tHe was happy Happy\n")
    write_tone(root / "0011" / "Happy" / "0011_002000.wav", pitch=210.0)
    return Release(root, root / "0011" / "Sad" / "0011_001003.wav", pairs=17)
