"""LibriTTS-P as its repository lies on disk, beside LibriTTS-R."""

from pathlib import Path

from corpus_fixtures import Release, write_tone

HEADER = (
    "item_name,spk_id,gender,pitch,speaking_speed,energy,content_prompt,style_prompt_key,raw_f0_mean,raw_f0_scale,"
    "raw_lf0_mean,raw_lf0_scale,raw_speaking_rate,raw_loudness_lufs,raw_loudness_mean,raw_loudness_scale,invalid"
)
ROWS = (
    '84_121550_000007_000000,84,F,very high,slow,normal,"""You see,"" she said, ""nothing.""",'
    "F_p-high_s-slow_e-normal,231.2,40.1,5.4,0.2,3.9,-23.1,0.05,0.03,0",
    "84_121550_000008_000000,84,F,,,,-,F_p-normal_s-normal_e-normal,,,,,,-70.0,0.0,0.0,1",
    '2074_147193_000001_000000,2074,M,low,normal,low,"Two voices, one name",M_p-low_s-normal_e-low,110.0,9,4.7,0.1,'
    "4.2,-26,0.04,0.02,0",
    "1089_134686_000001_000001,1089,M,low,very-fast,very-low,He hoped there would be stew,M_p-low_s-fast_e-low,101.5,"
    "20.5,4.6,0.2,6.9,-29.0,0.02,0.02,0",
)
CANDIDATES = (
    'F_p-high_s-slow_e-normal| ask a woman to be slow, with high pitch ;A "treble", slow;Ask a woman to be slow, '
    "with high pitch;",
    "F_p-normal_s-normal_e-normal|A woman speaks",
    "M_p-low_s-normal_e-low|A man speaks quietly",
    "M_p-low_s-fast_e-low|A low-pitched man speaks quickly;let a man's voice be low, fast and soft",
)
RECORDINGS = (
    "LibriTTS_R/dev-clean/84/121550/84_121550_000007_000000.wav",
    "LibriTTS_R/test-clean/1089/134686/1089_134686_000001_000001.wav",
)


def make(folder: Path) -> Release:
    """The repository in one folder, LibriTTS-R in another."""
    for recording in RECORDINGS:
        write_tone(folder / "audio" / recording, rate=24_000)
    data = folder / "LibriTTS-P" / "data"
    data.mkdir(parents=True)
    table = data / "metadata_w_style_prompt_tags_v230922.csv"
    table.write_text("\n".join((HEADER, *ROWS, "")), encoding="utf-8")
    (data / "style_prompt_candidates_v230922.csv").write_text("\n".join((*CANDIDATES, "")), encoding="utf-8")
    (data / "excluded_spk_list.txt").write_text("2074\n4455")
    (data / "df1_en.csv").write_text("spk_id|prompt\n")
    return Release(
        root=folder / "LibriTTS-P",
        recording=folder / "audio" / RECORDINGS[0],
        pairs=2,
        left_out=2,
        options={"audio_root": folder / "audio"},
        table=table,
    )
