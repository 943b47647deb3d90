"""What a character of the generated world says, heard in a clip, and how its mouth moves in it."""

import functools
from collections.abc import Iterator

import numpy as np
from scipy import ndimage, signal

from sorajax.clip import Clip
from sorajax.evaluate import strikes, track
from sorajax.worlds import speech
from sorajax.worlds.face import FEATURES
from sorajax.worlds.speech import WORDS, Voice

SPOKEN_HZ = (200.0, 4000.0)  # between which vowels are loud
LOUD = 0.12  # of the loudest moment, above which something is said
GAP_S = 0.12  # a shorter silence lies within a word
SHORTEST_S = 0.2  # of a word
STANDS_OUT = 0.15  # of the largest value, by which a peak does
SMOOTH_S = 0.05  # of the level in which vowels are found
TRACTS, PACES_S = (0.95, 1.05, 1.15, 1.2), (0.16, 0.21, 0.26)  # of the voices that are tried
PITCH_HZ = 150.0
STEPS = 40  # of the course of a word, however long it takes
DARK = 90  # of 255: features of a face are darker, in all of red, green and blue


def words(clip: Clip) -> list[tuple[float, float, str]]:
  """(start_s, end_s, word) of all that is said, each the most likely word of the lexicon."""
  said = zip(spans(clip), _courses(clip))
  return [(a, b, _likeliest(course, clip.sample_rate_hz)) for (a, b), course in said]


def spans(clip: Clip) -> list[tuple[float, float]]:
  """When something is said, word by word, in seconds."""
  level, hop_s = _level(clip)
  if not level.max() > 0:
    return []
  loud = ndimage.binary_closing(level > LOUD * level.max(), np.ones(max(round(GAP_S / hop_s), 1)))
  parts, _ = ndimage.label(loud)
  found = [(s[0].start * hop_s, s[0].stop * hop_s) for s in ndimage.find_objects(parts)]
  return [(a, b) for a, b in found if b - a >= SHORTEST_S]


def vowels_s(clip: Clip) -> np.ndarray:
  """When vowels begin, in seconds: half way up to each peak of the level in their band."""
  level, hop_s = _level(clip)
  width = max(round(SMOOTH_S / hop_s), 1)
  return _risen(ndimage.uniform_filter1d(level, width)) * hop_s


def openings_s(clip: Clip, skin: str) -> np.ndarray:
  """When the mouth of a face opens, in seconds: half way from each trough to the peak after it."""
  return _risen(mouth(clip, skin)) / clip.fps


def _risen(values: np.ndarray) -> np.ndarray:
  """Where values [N] pass half of the way from each trough to the peak after it, in their steps."""
  padded = np.pad(values, 1)
  peaks, _ = signal.find_peaks(padded, prominence=STANDS_OUT * max(padded.max(), 1e-9))
  places = []
  for before, peak in zip([0, *peaks], peaks):
    low = peak - 1 - int(padded[before:peak][::-1].argmin())  # the last of the lowest
    rise = np.maximum.accumulate(padded[low : peak + 1])
    places.append(low + np.interp((rise[0] + rise[-1]) / 2, rise, np.arange(len(rise))) - 1)
  return np.array(places)


def mouth(clip: Clip, skin: str) -> np.ndarray:
  """How much of a face is its mouth in every frame, [F], above the least of the clip."""
  opening = np.zeros(len(clip.video))
  for number, frame in enumerate(clip.video):
    face = track.largest(track.patches(frame), skin)
    if face is not None:
      opening[number] = _dark_below(frame, face) / face.area
  return opening - np.median(np.sort(opening)[: max(len(opening) // 4, 1)])


def _dark_below(frame: np.ndarray, face: track.Patch) -> float:
  """The dark area in the lower half of a face, in square heights."""
  height = len(frame)
  (x, y), (w, h) = face.place, face.size
  rows = slice(*(round(height * (1 - v)) for v in (y - 0.05 * h, y - 0.48 * h)))
  columns = slice(*(max(round(height * v), 0) for v in (x - 0.4 * w, x + 0.4 * w)))
  part = frame[rows, columns].astype(float)
  return float(np.clip((DARK + max(FEATURES) - part.max(axis=-1)) / DARK, 0, 1).sum() / height**2)


def _level(clip: Clip) -> tuple[np.ndarray, float]:
  """The level in the band of vowels, hop by hop, and how long a hop is."""
  levels = np.expm1(strikes.bands(clip.audio.astype(np.float64).mean(axis=1), clip.sample_rate_hz))
  edges = strikes.edges_hz(clip.sample_rate_hz)
  low, high = edges[:, 0] >= SPOKEN_HZ[0], edges[:, 1] <= SPOKEN_HZ[1]
  level = ndimage.uniform_filter1d(levels[low & high].sum(axis=0), 3)
  return level, round(strikes.HOP_S * clip.sample_rate_hz) / clip.sample_rate_hz


def _courses(clip: Clip) -> Iterator[np.ndarray]:
  """The course of the spectrum of every word, loudness and duration taken off, [STEPS, bands]."""
  mono, rate = clip.audio.astype(np.float64).mean(axis=1), clip.sample_rate_hz
  for a, b in spans(clip):
    sound = mono[round(a * rate) : round(b * rate)]
    level = strikes.bands(sound / max(np.abs(sound).max(), 1e-9), rate)
    steps = np.linspace(0, level.shape[1] - 1, STEPS)
    hops = np.arange(level.shape[1])
    course = np.stack([np.interp(steps, hops, band) for band in level], axis=-1)
    yield course - course.mean()


def _likeliest(found: np.ndarray, rate_hz: int) -> str:
  alike = lambda a: float((a * found).sum() / np.linalg.norm(a))
  return max(_templates(rate_hz), key=lambda known: alike(known[1]))[0]


@functools.cache
def _templates(rate_hz: int) -> tuple[tuple[str, np.ndarray], ...]:
  """Every word said by several voices, as much of it as is heard of one in a clip."""
  rng, made = np.random.default_rng(0), []
  for word in WORDS:
    for tract in TRACTS:
      for pace_s in PACES_S:
        voice = Voice(PITCH_HZ, tract, pace_s)
        said = speech.spoken((word,), voice, GAP_S)
        samples = round((said[-1].end_s + GAP_S) * rate_hz)
        sound = speech.render(said, voice, rng, samples, rate_hz)[:, None].astype(np.float32)
        clip = Clip(np.zeros((0, 0, 0, 3), np.uint8), sound, 1.0, rate_hz)
        made += [(word, course) for course in _courses(clip)]
  return tuple(made)
