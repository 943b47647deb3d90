"""When something is struck, heard in the sound of a clip alone."""

import numpy as np
from scipy import signal

from sorajax.clip import Clip

WINDOW_S, HOP_S = 0.016, 0.004
LAG = 3  # hops between the windows that are compared
BANDS, LOWEST_HZ = 16, 60.0  # of equal ratios, from there to half the sample rate
COMPRESSION = 1000.0  # log(1 + this · magnitude), so that quiet blows count beside loud ones
SMOOTH_S = 0.3  # over which the usual rise is judged
RISE = 0.4  # above the usual rise, in nats, the mean over bands
APART_S = 0.06  # between two strikes


def times_s(clip: Clip) -> np.ndarray:
  """The moments at which the spectrum rises sharply, in seconds, rising."""
  times, strength = novelty(clip)
  padded = np.concatenate([[0.0], strength, [0.0]])
  peaks, _ = signal.find_peaks(padded, height=RISE, distance=max(round(APART_S / HOP_S), 1))
  return times[peaks - 1]


def novelty(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
  """How much louder the spectrum becomes around each moment: seconds [N], and nats [N]."""
  level = bands(clip.audio.astype(np.float64).mean(axis=1), clip.sample_rate_hz)
  rise = np.maximum(level[:, LAG:] - level[:, :-LAG], 0).mean(axis=0)
  width = 2 * round(SMOOTH_S / HOP_S / 2) + 1
  usual = signal.medfilt(rise, width) if len(rise) > width else 0.0
  hop_s = round(HOP_S * clip.sample_rate_hz) / clip.sample_rate_hz
  return (np.arange(len(rise)) + LAG / 2) * hop_s, rise - usual


def bands(sound: np.ndarray, rate_hz: int) -> np.ndarray:
  """Logarithm of the level of sound [S] in each of `edges_hz`, [bands, N]; a hop apart from 0."""
  size, hop = round(WINDOW_S * rate_hz), round(HOP_S * rate_hz)
  if len(sound) < size:
    sound = np.pad(sound, (0, size - len(sound)))
  hz, _, spectrum = signal.stft(sound, rate_hz, nperseg=size, noverlap=size - hop)
  band, power = _band_of(hz, rate_hz), np.square(np.abs(spectrum))
  levels = np.sqrt([power[band == i].sum(axis=0) for i in np.unique(band)])
  return np.log1p(COMPRESSION * levels)


def edges_hz(rate_hz: int) -> np.ndarray:
  """Where each band begins and ends, [bands, 2]; those that hold no frequency are left out."""
  size = round(WINDOW_S * rate_hz)
  edges = np.geomspace(LOWEST_HZ, rate_hz / 2, BANDS + 1)
  held = np.unique(_band_of(np.fft.rfftfreq(size, 1 / rate_hz), rate_hz))
  return np.stack([edges[:-1], edges[1:]], axis=-1)[held]


def _band_of(hz: np.ndarray, rate_hz: int) -> np.ndarray:
  """The number of the band of each frequency; what is below the first belongs to it."""
  edges = np.geomspace(LOWEST_HZ, rate_hz / 2, BANDS + 1)
  return np.clip(np.searchsorted(edges, hz) - 1, 0, BANDS - 1)
