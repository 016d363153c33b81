"""Speech from the espeak-ng library, the same samples for the same request, always.

espeak-ng keeps its pitch flutter, its gain control, its count of glottal cycles and its noise in static
variables that no call resets, so what it says depends on what it said before. Here every utterance is
spoken by a library that was loaded for it alone and is unloaded afterwards. That costs a few milliseconds
and makes the samples a function of the request.
"""

import ctypes
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from raclap.errors import RaClapError

SAMPLE_RATE = 22_050  # Hz, fixed in the phoneme data
ACCENTS = ("en", "en-029", "en-GB-scotland", "en-GB-x-gbclan", "en-GB-x-gbcwmd", "en-GB-x-rp", "en-US")

_DATA_FILES = ("phontab", "phondata", "phonindex", "intonations", "en_dict")
_VOICE_FOLDER = Path("lang") / "gmw"
_VOICE_NAME = "raclap"

# From espeak-ng/speak_lib.h.
_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 1, 2, 3, 4, 7
_OK = 0

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Synthesiser:
    """Speaks English through a private copy of the library and of its English data.

    A copy, because another user of the library in the same process would keep it loaded, and its state with
    it; and because voices are files of the data folder. Not for use by several threads at a time: the noise
    comes from a generator of the process.

    Example:
        `with Synthesiser() as synthesiser: samples = synthesiser.speak("Good morning.", "pitch 90 130")`
    """

    sample_rate = SAMPLE_RATE

    def __init__(self) -> None:
        library, data = _installed()
        self._process = _process()
        self._folder = tempfile.TemporaryDirectory(prefix="raclap-espeak-")
        self._root = Path(self._folder.name)
        self._data = self._root / "espeak-ng-data"
        self._library = str(shutil.copy(library, self._root / library.name))
        self._accents = _copy_data(data, self._data)

    def __enter__(self) -> "Synthesiser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes the private copy."""
        self._folder.cleanup()

    def speak(
        self,
        text: str,
        voice: str = "",
        *,
        accent: str = "en-US",
        rate: int = 175,
        pitch: int = 50,
        pitch_range: int = 50,
        volume: int = 100,
        word_gap: int = 0,
    ) -> np.ndarray:
        """Speaks a text.

        Args:
            text: what to say.
            voice: lines of an espeak-ng voice file (`pitch`, `formant`, `breath`, ...), added to those of
                the accent.
            accent: one of `ACCENTS`.
            rate: words a minute, 80 to 450.
            pitch: 0 to 99; 50 leaves the voice's pitch, 25 is half an octave lower.
            pitch_range: 0 (monotone) to 99; 50 leaves the voice's range.
            volume: 0 to 200 per cent.
            word_gap: further pause between words, in 10 ms at the default rate.

        Returns:
            Samples, int16, at `SAMPLE_RATE`.

        Raises:
            RaClapError: the accent is unknown or espeak-ng refuses the request.
        """
        if accent not in self._accents:
            raise RaClapError(f"espeak-ng: no accent '{accent}'; the accents are {', '.join(ACCENTS)}")
        voice_file = self._data / _VOICE_FOLDER / _VOICE_NAME
        voice_file.write_text(self._accents[accent] + "\n" + voice + "\n", encoding="utf-8")
        parameters = {_RATE: rate, _VOLUME: volume, _PITCH: pitch, _RANGE: pitch_range, _WORD_GAP: word_gap}
        library = ctypes.CDLL(self._library)
        try:
            return self._speak(library, text, parameters)
        finally:
            self._unload(library)

    def _speak(self, library: ctypes.CDLL, text: str, parameters: dict[int, int]) -> np.ndarray:
        pieces: list[bytes] = []

        def keep(samples, count: int, _events) -> int:
            if samples and count > 0:
                pieces.append(ctypes.string_at(samples, count * 2))
            return 0

        callback = _Callback(keep)
        rate = library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, str(self._root).encode(), _INITIALIZE_DONT_EXIT)
        if rate != SAMPLE_RATE:
            raise RaClapError(f"espeak-ng: cannot start with the data in {self._data} (answer {rate})")
        library.espeak_SetSynthCallback(callback)
        name = f"gmw/{_VOICE_NAME}"
        _require(library.espeak_SetVoiceByName(name.encode()), f"voice {name}")
        for parameter, value in parameters.items():
            _require(library.espeak_SetParameter(parameter, value, 0), f"parameter {parameter} = {value}")
        self._seed_noise(library)
        data = text.encode("utf-8") + b"\0"
        size = ctypes.c_size_t(len(data))
        position = (0, _POSITION_CHARACTER, 0)
        _require(library.espeak_Synth(data, size, *position, _CHARS_UTF8, None, None), f"text '{text}'")
        library.espeak_Synchronize()
        library.espeak_Terminate()
        return np.frombuffer(b"".join(pieces), dtype=np.int16).copy()

    def _seed_noise(self, library: ctypes.CDLL) -> None:
        # Breath comes from the C library's generator, other noise from espeak-ng's own.
        self._process.srand(1)
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))

    def _unload(self, library: ctypes.CDLL) -> None:
        self._process.dlclose(ctypes.c_void_p(library._handle))
        try:
            ctypes.CDLL(self._library, mode=os.RTLD_NOLOAD)
        except OSError:
            return
        raise RaClapError("espeak-ng: this system does not unload libraries, so speech would not be repeatable")


def _installed() -> tuple[Path, Path]:
    """The library and the data folder of the package."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise RaClapError(
            "Synthetic speech needs espeak-ng, which is not installed: pip install 'raclap[demo]'"
        ) from error
    return Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())


def _process() -> ctypes.CDLL:
    """What the process itself has loaded: the C library."""
    try:
        return ctypes.CDLL(None)
    except TypeError as error:
        raise RaClapError("Synthetic speech needs Linux or macOS; Windows cannot unload espeak-ng") from error


def _copy_data(source: Path, target: Path) -> dict[str, str]:
    """Copies the English data; returns the voice file of each accent."""
    (target / _VOICE_FOLDER).mkdir(parents=True)
    (target / "voices").mkdir()
    for name in _DATA_FILES:
        shutil.copy(source / name, target / name)
    return {name: (source / _VOICE_FOLDER / name).read_text(encoding="utf-8") for name in ACCENTS}


def _require(status: int, what: str) -> None:
    if status != _OK:
        raise RaClapError(f"espeak-ng: refused {what} (status {status})")
