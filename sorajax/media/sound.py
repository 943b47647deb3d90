"""Decoded sound → float samples at the rate, in the channels and from the time asked for."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from scipy import signal

from sorajax.errors import UserError
from sorajax.media.source import origin_s

PREROLL_S = 0.5  # lapped codecs need a little of the past before they decode exactly
FIR_REACH = 10  # scipy's resampling filter spans this many samples of the slower rate each way


def sound(
  container: Any, stream: Any, start_s: float, samples: int, rate: int, channels: int
) -> np.ndarray:
  """Reads a span of sound: float32 [samples, channels], silence where the film has none.

  Sample i sounds at `start_s` + i / rate, counted from where the picture begins, and the same
  instant gives the same value whichever span is read.

  Args:
    container: an open container.
    stream: its sound stream.
    start_s: seconds.
    samples: how many.
    rate: samples a second.
    channels: 1, 2, or as many as the stream has.
  """
  shared = math.gcd(rate, stream.rate)
  up, down = rate // shared, stream.rate // shared
  first = round(start_s * rate)
  # The filter's phase repeats every `down` samples in and `up` samples out: begin on such a block.
  margin = FIR_REACH // min(up, down) + 2
  block = first // up - margin
  blocks = math.ceil((first + samples) / up) + margin - block
  native = _native(container, stream, block * down, blocks * down, channels)
  resampled = native if up == down else signal.resample_poly(native, up, down, axis=0)
  skip = first - block * up
  return np.ascontiguousarray(resampled[skip : skip + samples], dtype=np.float32)


def _native(container: Any, stream: Any, first: int, samples: int, channels: int) -> np.ndarray:
  """Samples first … first + samples at the stream's own rate, each at the place its pts names."""
  out = np.zeros((samples, channels), np.float32)
  for place, frame in _frames_from(container, stream, first):
    if place >= first + samples:
      break
    heard = frame.to_ndarray().reshape(frame.samples, -1)
    _paste(out, mix(heard, _names(frame.layout), channels), place - first)
  return out


def _frames_from(container: Any, stream: Any, first: int) -> Iterator[tuple[int, Any]]:
  """Yields (number of its first sample, frame) from a little before sample `first` on."""
  rate, tick = stream.rate, float(stream.time_base)
  slack = math.ceil(tick * rate) + 1
  # Before 0, because there an encoder puts what primes its decoder.
  begin = math.floor((origin_s(container) - PREROLL_S) / tick)
  # A stamp of whole milliseconds does not name a sample, but frames of one size lie on a grid.
  grid = _grid(container, stream, begin) if tick * rate > 1.5 else None
  expected: int | None = None
  for stamp, frame in _decoded(container, stream, begin + math.floor(first / rate / tick)):
    place = expected if stamp is None else stamp
    if expected is not None and (place is None or abs(place - expected) <= slack):
      place = expected
    elif place is not None and grid is not None:
      near = place + (grid[0] - place + grid[1] // 2) % grid[1] - grid[1] // 2
      place = near if abs(near - place) <= slack else place
    place = place or 0
    expected = place + frame.samples
    yield place, frame


def _grid(container: Any, stream: Any, begin: int) -> tuple[int, int] | None:
  """(where the second frame of a stream begins, how far the next is), in samples."""
  frames = [*itertools.islice(_decoded(container, stream, begin), 2)]
  if len(frames) < 2:
    return None
  (stamp, first), (_, second) = frames
  return (stamp or 0) + first.samples, second.samples


def _decoded(container: Any, stream: Any, stamp: int) -> Iterator[tuple[int | None, Any]]:
  """Seeks to a time stamp; yields (sample that the pts names, frame of interleaved floats)."""
  tick, origin = float(stream.time_base), origin_s(container)
  try:
    container.seek(stamp, stream=stream, backward=True)
  except av.FFmpegError:  # mp3, aac, ac3, avi and flv refuse to go to before their first stamp
    container.seek(max(stamp, 0), stream=stream, backward=True)
  # Converts the sample format only. Channel by channel, PyAV ends the process from eight on.
  floats = av.AudioResampler(format='flt')
  for decoded in container.decode(stream):
    named = decoded.pts is not None
    place = round((decoded.pts * tick - origin) * stream.rate) if named else None
    for frame in floats.resample(decoded):
      yield place, frame


def _paste(out: np.ndarray, piece: np.ndarray, at: int) -> None:
  """Writes `piece` [n, A] into `out` [S, A] from row `at` on, as far as the two overlap."""
  low, high = max(at, 0), min(at + len(piece), len(out))
  if low < high:
    out[low:high] = piece[low - at : high - at]


def _names(layout: Any) -> tuple[str, ...]:
  return tuple(channel.name for channel in layout.channels)


def mix(samples: np.ndarray, names: tuple[str, ...], channels: int) -> np.ndarray:
  """float32 [S, C] of the named loudspeakers → [S, channels].

  One channel is the mean of all but the bass; two are the means of what is left and centre, and of
  what is right and centre; so nothing that was within [-1, 1] leaves it.

  Raises:
    UserError: another count than 1, 2 or C.
  """
  have = samples.shape[1]
  if have == channels:
    return samples
  if channels not in (1, 2):
    raise UserError(f'cannot turn {have} sound channels into {channels}; ask for 1, 2 or {have}')
  if have == 1:
    return np.repeat(samples, channels, axis=1)
  voiced = np.array([not name.startswith('LFE') for name in names])
  left = np.array([not name.endswith('R') for name in names]) & voiced
  right = np.array([not name.endswith('L') for name in names]) & voiced
  sides = [voiced] if channels == 1 else [left, right]
  weights = np.stack([side / max(side.sum(), 1) for side in sides], axis=1)
  return samples @ weights.astype(np.float32)
