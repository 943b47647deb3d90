"""Whose voice speaks, heard in a clip: its pitch, and how long its tract is."""

import dataclasses
import functools

import numpy as np
from scipy import signal

from sorajax.clip import Clip
from sorajax.evaluate import speech
from sorajax.worlds import captions, reference
from sorajax.worlds.face import Character
from sorajax.worlds.speech import HIGHEST_HZ, VOWELS, resonance

WINDOW_S, HOP_S = 0.04, 0.01
LOUD = 0.4  # of the loudest window, root mean square: vowels are louder
MOST = 40  # windows that are measured, spread over the clip
LOWEST_HZ, TOP_HZ = 75.0, 300.0  # of a pitch
PERIODIC = 0.7  # of its power, that a window of a voice has in common with itself a period later
FIRST = 0.9  # of the best period's, above which a shorter one is the period
TRACTS = np.arange(0.85, 1.31, 0.01)  # that are tried
DEEP = 5.0  # nats below the strongest harmonic, all are alike
PITCH, TRACT = 0.06, 0.03  # shares within which two voices are one: a semitone, and half of that


@dataclasses.dataclass(frozen=True)
class Heard:
  """A voice.

  Attributes:
    pitch_hz: the median over what is voiced.
    tract: by which the formants of its vowels are multiplied.
  """

  pitch_hz: float
  tract: float

  def same(self, other: 'Heard') -> bool:
    """Whether both can be the voice of one character."""
    apart = lambda a, b: abs(np.log(a / b))
    return bool(
      apart(self.pitch_hz, other.pitch_hz) < PITCH and apart(self.tract, other.tract) < TRACT
    )

  def fits(self, register: str) -> bool:
    """Whether it can be the low, or the high, voice that a caption tells of."""
    within = {'low': 1 - PITCH, 'high': 1 + PITCH}[register]
    return captions.register(self.pitch_hz * within) == register


@functools.cache
def of(character: Character, rate_hz: int) -> Heard | None:
  """The voice in the sample of a character's speech."""
  no_picture = np.zeros((0, 0, 0, 3), np.uint8)
  return heard(Clip(no_picture, reference.sample(character, rate_hz), 1.0, rate_hz))


def heard(clip: Clip) -> Heard | None:
  """The voice that speaks in a clip; None where none does."""
  rate = clip.sample_rate_hz
  windows = _windows(clip)
  periods = [_period_s(window, rate) for window in windows]
  voiced = [(w, 1 / p) for w, p in zip(windows, periods) if p is not None]
  if not voiced:
    return None
  cost = sum(_misfit(window, pitch_hz, rate) for window, pitch_hz in voiced)
  pitch_hz = float(np.median([pitch_hz for _, pitch_hz in voiced]))
  return Heard(pitch_hz, float(TRACTS[np.argmin(cost)]))


def _windows(clip: Clip) -> np.ndarray:
  """Stretches of sound in which somebody speaks loudly, [N, S]."""
  rate, mono = clip.sample_rate_hz, clip.audio.astype(np.float64).mean(axis=1)
  size, hop = round(WINDOW_S * rate), round(HOP_S * rate)
  parts = [mono[round(a * rate) : round(b * rate)] for a, b in speech.spans(clip)]
  slide = np.lib.stride_tricks.sliding_window_view
  found = [slide(part, size)[::hop] for part in parts if len(part) >= size]
  windows = np.concatenate([np.zeros((0, size)), *found])
  level = np.sqrt(np.square(windows).mean(axis=1))
  windows = windows[level > LOUD * level.max(initial=0.0)]
  return windows[:: -(-len(windows) // MOST) or 1]


def _period_s(window: np.ndarray, rate_hz: int) -> float | None:
  """After which a window [S] repeats itself; None where it does not (Boersma 1993)."""
  taper = np.hanning(len(window))
  likeness = _itself(window * taper) / np.maximum(_itself(taper), 1e-3 * _itself(taper)[0])
  likeness /= max(likeness[0], 1e-12)
  shortest, longest = int(rate_hz / TOP_HZ), int(rate_hz / LOWEST_HZ)
  lags = signal.find_peaks(likeness[: longest + 1], height=PERIODIC)[0]
  lags = lags[lags >= shortest]
  if not len(lags):
    return None
  lag = int(lags[likeness[lags] >= FIRST * likeness[lags].max()][0])
  a, b, c = likeness[lag - 1 : lag + 2]
  return (lag + (a - c) / (2 * (a - 2 * b + c))) / rate_hz


def _itself(values: np.ndarray) -> np.ndarray:
  """The autocorrelation of values [S], for lags from 0 on."""
  power = np.square(np.abs(np.fft.rfft(values, 2 * len(values))))
  return np.fft.irfft(power)[: len(values)]


def _misfit(window: np.ndarray, pitch_hz: float, rate_hz: int) -> np.ndarray:
  """How far its harmonics are from those of the best vowel, for each of `TRACTS`, in nats."""
  size = 8 * len(window)
  spectrum = np.abs(np.fft.rfft(window * np.hanning(len(window)), size))
  number = np.arange(1, int(min(HIGHEST_HZ, 0.45 * rate_hz) / pitch_hz) + 1)[:, None, None]
  found = np.interp(number * pitch_hz, np.fft.rfftfreq(size, 1 / rate_hz), spectrum)
  formants = np.array([vowel.formants_hz for vowel in VOWELS.values()]).T[:, :, None] * TRACTS
  made = resonance(number * pitch_hz, formants) / number  # [harmonics, vowels, tracts]
  off = _levels(found) - _levels(made)
  return np.abs(off - np.median(off, axis=0)).mean(axis=0).min(axis=0)


def _levels(gain: np.ndarray) -> np.ndarray:
  """Logarithms of gains of harmonics, [K, ...], none far below the strongest."""
  level = np.log(np.maximum(gain, 1e-12))
  return np.maximum(level, level.max(axis=0) - DEEP)
