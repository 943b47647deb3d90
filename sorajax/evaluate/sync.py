"""Do events of picture and sound coincide? Read from decoded clips alone."""

import dataclasses

import numpy as np

from sorajax.clip import Clip

HOP_S = 0.005


@dataclasses.dataclass(frozen=True)
class Agreement:
  """Events of picture and sound that were matched one to one.

  Attributes:
    matched: pairs within the tolerance.
    seen: events of the picture.
    heard: events of the sound.
  """

  matched: int = 0
  seen: int = 0
  heard: int = 0

  def __add__(self, other: 'Agreement') -> 'Agreement':
    pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other))
    return Agreement(*(a + b for a, b in pairs))

  @property
  def recall(self) -> float:
    """Share of what is seen that is heard."""
    return self.matched / max(self.seen, 1)

  @property
  def precision(self) -> float:
    """Share of what is heard that is seen."""
    return self.matched / max(self.heard, 1)

  @property
  def f1(self) -> float:
    """The harmonic mean of both."""
    return 2 * self.matched / max(self.seen + self.heard, 1)


def beyond_chance(found: float, chance: float, truth: float) -> float:
  """A score on a scale on which chance is 0 and truth is 1."""
  return (found - chance) / (truth - chance)


def agree(seen_s: np.ndarray, heard_s: np.ndarray, tolerance_s: float) -> Agreement:
  """Matches the times of events that are seen with those of events that are heard, in seconds."""
  matched = _match(np.sort(seen_s), np.sort(heard_s), tolerance_s)
  return Agreement(matched, len(seen_s), len(heard_s))


def agreement(video: Clip, audio: Clip, tolerance_frames: float = 1.0) -> Agreement:
  """Matches the flashes of one clip with the beeps of another (or the same)."""
  return agree(flash_times_s(video), beep_times_s(audio), tolerance_frames / video.fps + 1e-6)


def flash_times_s(clip: Clip, rise: float = 60.0) -> np.ndarray:
  """When the picture turns bright: seconds at which mean luma rises past its median by `rise`."""
  luma = clip.video.astype(np.float64).mean(axis=(1, 2, 3))
  bright = luma > np.median(luma) + rise
  starts = bright & ~np.concatenate([[False], bright[:-1]])
  return np.flatnonzero(starts) / clip.fps


def beep_times_s(clip: Clip, share: float = 0.35, least: float = 0.03) -> np.ndarray:
  """When the sound sets in: seconds at which its level rises past a share of the loudest.

  Args:
    clip: its sound is read.
    share: of the level at the loudest moment.
    least: no event where the loudest level (RMS of full scale 1) stays below this.
  """
  hop = int(HOP_S * clip.sample_rate_hz)
  mono = clip.audio.astype(np.float64).mean(axis=1)
  count = len(mono) // hop
  level = np.sqrt(np.square(mono[: count * hop]).reshape(count, hop).mean(axis=1))
  level = np.convolve(level, np.ones(4) / 4, mode='same')
  if not count or level.max() < least:
    return np.zeros(0)
  loud = level > share * level.max()
  quiet_hops = int(0.04 / HOP_S)  # a dip shorter than this does not end an event
  starts: list[int] = []
  last = -quiet_hops - 1
  for i in np.flatnonzero(loud):
    if i - last > quiet_hops:
      starts.append(int(i))
    last = int(i)
  return np.array(starts) * HOP_S


def _match(a: np.ndarray, b: np.ndarray, tolerance: float) -> int:
  """How many of two ascending lists pair off within a tolerance, each at most once."""
  i = j = matched = 0
  while i < len(a) and j < len(b):
    if abs(a[i] - b[j]) <= tolerance:
      i, j, matched = i + 1, j + 1, matched + 1
    elif a[i] < b[j]:
      i += 1
    else:
      j += 1
  return matched
