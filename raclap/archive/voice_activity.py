"""Whether there is a voice in a window: WebRTC's detector, a Gaussian mixture over the energies of six bands.

Source: https://webrtc.googlesource.com/src/+/refs/heads/main/common_audio/vad, by way of the package webrtcvad-wheels.

Shapes: S samples.
"""

import numpy as np

from modeling_raclap.audio_raclap import resample
from raclap.archive.facts import ArchiveError

_RATES = (8_000, 16_000, 32_000, 48_000)  # Hz that the detector knows
_RATE = 16_000  # Hz for what is at another
_FRAME_SECONDS = 0.03
_AGGRESSIVENESS = 2  # of 0 to 3: how sure it must be
_VOICED_SHARE = 0.1  # of the frames of a window


class VoiceDetector:
    """Tells whether at least a tenth of a window is voice.

    Args:
        rate: Hz of the windows.

    Raises:
        ArchiveError: the package is not installed.
    """

    def __init__(self, rate: int):
        try:
            import webrtcvad
        except ImportError as error:
            raise ArchiveError("--voice-activity needs webrtcvad: pip install 'raclap[voice]'") from error
        self._new_detector = webrtcvad.Vad
        self._rate = rate
        self._own_rate = rate if rate in _RATES else _RATE

    def __call__(self, waveform: np.ndarray) -> bool:
        """Looks at a (S,) float32 window."""
        # It adapts to what it hears: a new one each time says the same of a window, whatever came before it.
        detector = self._new_detector(_AGGRESSIVENESS)
        samples = resample(waveform, self._rate, self._own_rate)
        codes = (np.clip(samples, -1.0, 1.0 - 2**-15) * 2**15).astype("<i2")
        size = round(_FRAME_SECONDS * self._own_rate)
        frames = [codes[first : first + size].tobytes() for first in range(0, len(codes) - size + 1, size)]
        voiced = sum(detector.is_speech(frame, self._own_rate) for frame in frames)
        return voiced > 0 and voiced >= _VOICED_SHARE * len(frames)
