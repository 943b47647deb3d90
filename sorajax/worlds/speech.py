"""Speech of a small lexicon: harmonics under formants, and a mouth that opens in step.

Vowels are those of Peterson & Barney (1952), spoken by a source of harmonics whose amplitudes
follow the resonances of the tract (Fant 1960); consonants are murmurs, bursts and hisses before.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

Formants = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Vowel:
  """Formants in Hz of a grown man, and how far the mouth opens, 0 to 1, and how wide it is."""

  formants_hz: Formants
  opening: float
  wide: float


@dataclasses.dataclass(frozen=True)
class Consonant:
  """What comes before a vowel.

  Attributes:
    seconds: how long.
    opening: of the mouth.
    murmur: loudness of the voice meanwhile.
    noise: loudness of a hiss, all the while or as a burst at the end.
    noise_hz: where that hiss is strongest.
    locus_hz: where the second formant comes from.
    burst: whether the hiss comes at the end alone.
  """

  seconds: float
  opening: float
  murmur: float
  noise: float
  noise_hz: float
  locus_hz: float
  burst: bool = False


VOWELS: Mapping[str, Vowel] = MappingProxyType(
  {
    'a': Vowel((730.0, 1090.0, 2440.0), 1.0, 0.8),
    'e': Vowel((530.0, 1840.0, 2480.0), 0.7, 0.9),
    'i': Vowel((270.0, 2290.0, 3010.0), 0.45, 1.0),
    'o': Vowel((570.0, 840.0, 2410.0), 0.75, 0.5),
    'u': Vowel((300.0, 870.0, 2240.0), 0.45, 0.35),
  }
)
CONSONANTS: Mapping[str, Consonant] = MappingProxyType(
  {
    'm': Consonant(0.08, 0.0, 0.3, 0.0, 0.0, 900.0),
    'n': Consonant(0.07, 0.1, 0.3, 0.0, 0.0, 1700.0),
    'l': Consonant(0.07, 0.2, 0.5, 0.0, 0.0, 1300.0),
    'b': Consonant(0.07, 0.0, 0.1, 0.3, 900.0, 800.0, burst=True),
    'd': Consonant(0.06, 0.1, 0.1, 0.3, 3000.0, 1800.0, burst=True),
    'k': Consonant(0.08, 0.1, 0.0, 0.5, 1900.0, 2200.0, burst=True),
    's': Consonant(0.11, 0.1, 0.0, 0.35, 5000.0, 1600.0),
  }
)
WORDS = ('mama', 'bido', 'lunu', 'sosa', 'neki', 'kale', 'dumi', 'sile')
BANDWIDTHS_HZ = (80.0, 110.0, 160.0)
STEP_S = 0.005  # in which formants and loudness move
GLIDE_S = 0.04  # over which a vowel's formants come from where the consonant was
FADE_S = 0.04  # over which a vowel ends
HIGHEST_HZ = 4000.0  # of a harmonic
LOUDNESS = 0.07
CLOSING_S = 0.06  # over which the mouth shuts after a word
PAUSE_S = 0.2  # between words


@dataclasses.dataclass(frozen=True)
class Voice:
  """Whose speech it is.

  Attributes:
    pitch_hz: of the source in the middle of a word.
    tract: by which all formants are multiplied; above 1 for a shorter tract.
    pace_s: how long a vowel is held.
    melody: share by which the pitch falls through a word.
  """

  pitch_hz: float
  tract: float
  pace_s: float
  melody: float = 0.15


@dataclasses.dataclass(frozen=True)
class Syllable:
  """One consonant and one vowel.

  Attributes:
    text: two letters.
    word: number of the word in the line.
    start_s: where the consonant begins.
    vowel_s: where the vowel begins.
    end_s: where it ends.
  """

  text: str
  word: int
  start_s: float
  vowel_s: float
  end_s: float


def spoken(words: Sequence[str], voice: Voice, start_s: float) -> tuple[Syllable, ...]:
  """When each syllable of a line is said."""
  now, said = start_s, list[Syllable]()
  for number, word in enumerate(words):
    for text in (word[i : i + 2] for i in range(0, len(word), 2)):
      vowel_s = now + CONSONANTS[text[0]].seconds
      said.append(Syllable(text, number, now, vowel_s, vowel_s + voice.pace_s))
      now = said[-1].end_s
    now += PAUSE_S
  return tuple(said)


def mouth(syllables: Sequence[Syllable], times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """How far the mouth is open at `times_s` [F], 0 to 1, and how wide it is, each [F]."""
  knots = [(-1.0, 0.0, 0.6)]
  for place, s in enumerate(syllables):
    consonant, vowel = CONSONANTS[s.text[0]], VOWELS[s.text[1]]
    if place == 0 or s.word != syllables[place - 1].word:
      knots.append((s.start_s - CLOSING_S / 2, 0.0, 0.6))
    knots.append(((s.start_s + s.vowel_s) / 2, consonant.opening, vowel.wide))
    knots.append((s.vowel_s + GLIDE_S, vowel.opening, vowel.wide))
    knots.append((s.end_s - FADE_S / 2, vowel.opening, vowel.wide))
    if place + 1 == len(syllables) or s.word != syllables[place + 1].word:
      knots.append((s.end_s + CLOSING_S / 2, 0.0, 0.6))
  at, opening, wide = np.array(knots).T
  return np.interp(times_s, at, opening), np.interp(times_s, at, wide)


def render(
  syllables: Sequence[Syllable], voice: Voice, rng: np.random.Generator, samples: int, rate_hz: int
) -> np.ndarray:
  """float64 [S], the line said by the voice, silent around it."""
  sound = np.zeros(samples)
  for number in sorted({s.word for s in syllables}):
    word = [s for s in syllables if s.word == number]
    first = round(word[0].start_s * rate_hz)
    made = _word(word, voice, rng, rate_hz)[: max(samples - first, 0)]
    sound[first : first + len(made)] += made
  return LOUDNESS * sound


def _word(word: Sequence[Syllable], voice: Voice, rng, rate_hz: int) -> np.ndarray:
  begin, end = word[0].start_s, word[-1].end_s
  knots = np.arange(0.0, end - begin + STEP_S, STEP_S)
  voiced, formants = _tract(word, voice, knots + begin)
  t = np.arange(round((end - begin) * rate_hz)) / rate_hz
  pitch = voice.pitch_hz * (1 + voice.melody * (0.5 - t / (end - begin)))
  phase = 2 * np.pi * np.cumsum(pitch) / rate_hz
  harmonics = np.arange(1, int(min(HIGHEST_HZ, 0.45 * rate_hz) / pitch.min()) + 1)
  knot_pitch = np.interp(knots, t, pitch)
  made = np.zeros(len(t))
  for k in harmonics:
    gain = voiced * resonance(k * knot_pitch, formants) / k  # the source falls by 6 dB an octave
    made += np.interp(t, knots, gain) * np.sin(k * phase)
  for s in word:
    consonant = CONSONANTS[s.text[0]]
    if consonant.noise:
      first, last = (round((x - begin) * rate_hz) for x in (s.start_s, s.vowel_s))
      first = max(last - round(0.02 * rate_hz), 0) if consonant.burst else first
      made[first:last] += consonant.noise * _hiss(rng, last - first, consonant.noise_hz, rate_hz)
  return made


def _tract(word: Sequence[Syllable], voice: Voice, times: np.ndarray):
  """How loud the voice is [K], and the formants [3, K], at `times`."""
  voiced, formants = list[tuple[float, float]](), list[tuple[float, Formants]]()
  for s in word:
    consonant, vowel = CONSONANTS[s.text[0]], VOWELS[s.text[1]]
    f1, f2, f3 = vowel.formants_hz
    closed = (250.0, consonant.locus_hz, f3)
    formants += [
      (s.start_s, closed), (s.vowel_s, closed), (s.vowel_s + GLIDE_S, (f1, f2, f3)),
      (s.end_s - STEP_S, (f1, f2, f3)),
    ]  # fmt: skip
    voiced += [
      (s.start_s, consonant.murmur), (s.vowel_s - STEP_S, consonant.murmur),
      (s.vowel_s + 2 * STEP_S, 1.0), (s.end_s - FADE_S, 1.0), (s.end_s - STEP_S, 0.2),
    ]  # fmt: skip
  voiced += [(word[-1].end_s, 0.0)]
  loud = np.interp(times, *np.array(voiced).T)
  at, values = [x for x, _ in formants], np.array([f for _, f in formants])
  return loud, voice.tract * np.stack([np.interp(times, at, v) for v in values.T])


def resonance(hz: np.ndarray, formants: np.ndarray) -> np.ndarray:
  """The gain of a cascade of resonators, 1 for low frequencies.

  Args:
    hz: any shape.
    formants: [3, ...], each of a shape that goes with that of `hz`.
  """
  gain = np.ones(())
  for centre, width in zip(formants, BANDWIDTHS_HZ):
    ratio = hz / centre
    gain = gain / np.hypot(1 - ratio**2, ratio * width / centre)
  return gain


def _hiss(rng: np.random.Generator, samples: int, centre_hz: float, rate_hz: int) -> np.ndarray:
  """Noise around a frequency, of root mean square 1, that fades in and out."""
  hz = np.fft.rfftfreq(samples, 1 / rate_hz)
  shape = np.exp(-0.5 * ((hz - centre_hz) / (0.25 * centre_hz + 300)) ** 2)
  noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(samples)) * shape, samples)
  return np.hanning(samples) * noise / max(np.sqrt(np.mean(noise**2)), 1e-9)
