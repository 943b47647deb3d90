"""A character: a face that is drawn by distances, with a mouth that opens; and a voice."""

import dataclasses

import numpy as np

from sorajax.worlds.speech import Syllable, Voice, mouth, spoken

FORMS = ('round', 'square')
HATS = ('bald', 'cap', 'band', 'tuft')
LOW_HZ, HIGH_HZ = 130.0, 190.0  # below is a low voice, above a high one


@dataclasses.dataclass(frozen=True)
class Face:
  """What a character looks like; lengths in its radius.

  Attributes:
    form: one of `FORMS`.
    skin: a key of `scene.COLOURS`.
    hat: one of `HATS`.
    hat_colour: a key of `scene.COLOURS`.
    eyes_apart: half the distance of the eyes.
    eye: radius of one.
    lips: half the width of the widest mouth.
  """

  form: str
  skin: str
  hat: str
  hat_colour: str
  eyes_apart: float
  eye: float
  lips: float


@dataclasses.dataclass(frozen=True)
class Character:
  """Who it is, apart from any clip."""

  face: Face
  voice: Voice


@dataclasses.dataclass(frozen=True)
class Speaker:
  """A character in a scene.

  Attributes:
    character: who.
    place: (x, y) of the middle of the face, in heights of the picture.
    radius: half its height.
    words: of its line, in order.
    start_s: when the line begins.
    blinks_s: when the eyes shut for a moment.
  """

  character: Character
  place: tuple[float, float]
  radius: float
  words: tuple[str, ...]
  start_s: float
  blinks_s: tuple[float, ...] = ()

  @property
  def syllables(self) -> tuple[Syllable, ...]:
    return spoken(self.words, self.character.voice, self.start_s)

  def mouth(self, times_s: np.ndarray) -> np.ndarray:
    """How far the mouth is open at `times_s` [F], 0 to 1."""
    return mouth(self.syllables, times_s)[0]


BLINK_S = 0.15
REACH = 1.35  # of the radius of a face, within which all of it lies, its hat too
FEATURES = (20.0, 20.0, 30.0)  # colour of eyes and of the inside of the mouth


def draw_character(rng: np.random.Generator, colours: list[str]) -> Character:
  """Anybody, with a face and a voice of its own."""
  one = lambda choices: str(rng.choice(choices))
  skin, hat_colour = (str(c) for c in rng.choice(colours, 2, replace=False))
  apart, eye, lips = rng.uniform((0.28, 0.1, 0.3), (0.45, 0.17, 0.5)).tolist()
  face = Face(one(FORMS), skin, one(HATS), hat_colour, apart, eye, lips)
  pitch, tract, pace = rng.uniform((95, 0.95, 0.16), (250, 1.2, 0.26)).tolist()
  return Character(face, Voice(pitch, tract, pace))


def layers(
  speaker: Speaker, time_s: float, x: np.ndarray, y: np.ndarray, pixel: float, rgb
) -> list[tuple[np.ndarray, np.ndarray]]:
  """What is painted one upon the other: a cover [H, W] in 0 to 1, and a colour [3].

  Args:
    speaker: whose face it is.
    time_s: the moment.
    x: [W] of the pixels' centres in heights of the picture.
    y: [H] of them, upwards.
    pixel: how large one is.
    rgb: the colour of a name.
  """
  face, r = speaker.character.face, speaker.radius
  across, up = (x - speaker.place[0]) / r, ((y - speaker.place[1]) / r)[:, None]
  soft = pixel / r
  cover = lambda inside: np.clip(inside / soft + 0.5, 0, 1)
  box = lambda cx, cy, w, h: np.minimum(w - np.abs(across - cx), h - np.abs(up - cy))
  away = lambda cx, cy, w, h: np.sqrt(((across - cx) / w) ** 2 + ((up - cy) / h) ** 2)
  disc = lambda cx, cy, w, h: (1 - away(cx, cy, w, h)) * min(w, h)
  head = disc(0, 0, 1, 1) if face.form == 'round' else box(0, 0, 0.9, 0.9)
  painted = [(cover(head), rgb(face.skin))]
  hat = {
    'cap': np.minimum(head + 0.06, up - 0.45 + 0 * across),
    'band': np.minimum(head + 0.02, 0.12 - np.abs(up - 0.6) + 0 * across),
    'tuft': disc(0, 1.0, 0.3, 0.3),
  }
  if face.hat in hat:
    painted.append((cover(hat[face.hat]), rgb(face.hat_colour)))
  shut = any(b <= time_s < b + BLINK_S for b in speaker.blinks_s)
  tall = 0.04 if shut else face.eye
  for side in (-1, 1):
    eye = disc(side * face.eyes_apart, 0.2, face.eye, max(tall, soft / 2))
    painted.append((cover(eye), np.array(FEATURES)))
  opening, wide = (float(v[0]) for v in mouth(speaker.syllables, np.array([time_s])))
  tall = 0.05 + 0.3 * opening
  lips = disc(0, -0.42, face.lips * (0.4 + 0.6 * wide), max(tall, soft / 2))
  painted.append((cover(lips), np.array(FEATURES)))
  return painted
