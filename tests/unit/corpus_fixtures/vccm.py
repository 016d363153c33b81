"""VccmDataset in the repository of ControlSpeech, beside LibriTTS and the corpora of acted emotion."""

from pathlib import Path

from corpus_fixtures import Release, write_tone

HEADER = "item_name,dur,pitch,energy,gender,emotion,spk,txt,style_prompt"
ESD = "Emotional Speech Dataset (ESD)-Emotion Speech Dataset-0020-Happy-0020_000746"
TESS = "TESS-TESS Toronto emotional speech set data-YAF_pleasant_surprised-YAF_germ_ps"
RAVDESS = "RAVDESS-Actor_01-03-01-04-01-01-01-01"
CREMA_D = "CREMA-D-AudioWAV-1060_IWL_FEA_XX"
MEAD = "MEAD-M026-audio-contempt-level_3-018"
TABLES = {
    "train": (
        '5082_34548_000111_000001,low,low,normal,F,nan,5082,"""There\'s rain in the air.""","Slow, with a deep pitch"',
        f'{ESD},low,normal,low,M,happy,ESD-0020,They\'d never know.,"speaker, happy, is slow"',
        f"{TESS},low,high,low,F,surprised,TESS-YAF,say the word germ,A surprised voice",
        'MESS compressed-CM3T07_SCR,high,low,normal,M,neutral,MESS-M3,Theo discussed the prayer,"Rapid, deep"',
        "7387_279272_000010_000000,normal,high,normal,F,None,7387,No,A treble",
    ),
    "test": (
        f"{RAVDESS},low,normal,low,M,sad,RAVDESS-01,Kids are talking by the door,A sad speaker",
        f'{CREMA_D},low,low,low,F,fear,CREMA-D-1060,I would like a new alarm clock,"Hushed, slow"',
        f'{MEAD},low,normal,low,M,contempt,MEAD-M026,Can you,"Contemptuous, ""slow"" words"',
        "SAVEE-ALL-DC_d08,low,normal,normal,M,disgusted,SAVEE-DC,Barb burned paper,Nauseated speech",
    ),
    "test_prompt": ("SAVEE-ALL-DC_a12,normal,high,high,M,angry,SAVEE-DC,But in this section,A fast voice",),
}
RECORDINGS = (
    "LibriTTS/train-clean-360/5082/34548/5082_34548_000111_000001.wav",
    "LibriTTS/train-other-500/7387/279272/7387_279272_000010_000000.wav",
    "emotion_dataset/Emotional Speech Dataset (ESD)/Emotion Speech Dataset/0020/Happy/0020_000746.wav",
    "emotion_dataset/TESS/TESS Toronto emotional speech set data/YAF_pleasant_surprised/YAF_germ_ps.wav",
    "emotion_dataset/MESS compressed/CM3T07_SCR.wav",
    "emotion_dataset/RAVDESS/Actor_01/03-01-04-01-01-01-01.wav",
    "CREMA-D/AudioWAV/1060_IWL_FEA_XX.wav",
    "emotion_dataset/MEAD/M026/audio/contempt/level_3/018.wav",
    "emotion_dataset/SAVEE/ALL/DC_d08.flac",
    "emotion_dataset/SAVEE/ALL/DC_a12.wav",
)


def make(folder: Path) -> Release:
    """The repository in one folder, the recordings in another."""
    for recording in RECORDINGS:
        write_tone(folder / "audio" / recording)
    tables = folder / "ControlSpeech" / "VccmDataset"
    tables.mkdir(parents=True)
    for name, rows in TABLES.items():
        (tables / f"controlspeech_{name}.csv").write_text("\n".join((HEADER, *rows, "")), encoding="utf-8")
    return Release(
        root=folder / "ControlSpeech",
        recording=folder / "audio" / RECORDINGS[0],
        pairs=9,
        options={"audio_root": folder / "audio"},
        table=tables / "controlspeech_train.csv",
    )
