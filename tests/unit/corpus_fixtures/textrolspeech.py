"""TextrolSpeech: tables in `caption`, recordings of the corpora that it was made of, at their sample rates."""

from pathlib import Path

from corpus_fixtures import Release, write_tone

HEADER = "num,wav_fp,item_name,gender,pitch,tempo,energy,emotion,style_prompt,content_prompt"
LIBRITTS = "libritts/train-clean-360/459/127522/459_127522_000002_000000.wav"
ESD = "emotion_dataset/Emotional Speech Dataset (ESD)/Emotion Speech Dataset/0015/Sad/0015_001348.wav"
VCTK = "VCTK-Corpus/wav48/p307/p307_129.wav"
MEAD = "emotion_dataset/MEAD/W028/audio/happy/level_2/020.wav"
CREMA_D = "emotion_dataset/CREMA-D/AudioWAV/1060_IWL_FEA_XX.wav"
TABLES = {
    "random_train": (
        f'0,{LIBRITTS},459_127522_000002_000000,M,low,normal,high,neutral,"With a deep, energetic voice, he speaks.",'
        '"""I, too,"" he said."',
        f"7,{ESD},0015_001348,F,normal,low,low,sad,She sounds sad (and slow).,Tom could not hear her.",
        f'9,{VCTK},p307_129,F,high,high,normal,,"Quick, high words.",Please call Stella',
    ),
    "random_dev": (f"0,{MEAD},020,F,normal,low,low,happy,Joy; slowly.,Will you tell me why",),
    "random_test": (f"0,{CREMA_D},1060_IWL_FEA_XX,F,low,low,low,fear,Hushed fear.,I would like a new alarm clock",),
}
RATES = {LIBRITTS: 24_000, ESD: 16_000, VCTK: 48_000, MEAD: 48_000, CREMA_D: 16_000}


def make(root: Path) -> Release:
    """Everything in one folder."""
    for recording, rate in RATES.items():
        write_tone(root / recording, rate=rate)
    for name, rows in TABLES.items():
        table = root / "caption" / f"{name}.csv"
        table.parent.mkdir(exist_ok=True)
        table.write_text("\n".join((HEADER, *rows, "")), encoding="utf-8")
    return Release(root, root / ESD, pairs=5, table=root / "caption" / "random_train.csv")
