"""What a character looks and sounds like, apart from any clip: portrait and sample of speech."""

import numpy as np

from sorajax.worlds import picture, sound
from sorajax.worlds.face import Character, Speaker
from sorajax.worlds.scene import Camera, Scene
from sorajax.worlds.speech import WORDS

WALL, GROUND = (40, 40, 48), (72, 72, 72)
RADIUS = 0.36  # of the face, in heights of the picture
SAID = WORDS[:3]  # between them they have four of the five vowels
BEGIN_S = 0.1  # before the first word, and after the last


def portrait(character: Character, height: int, width: int) -> np.ndarray:
  """uint8 [H, W, 3], the face with its mouth shut before a grey wall."""
  scene = _scene(character, (), 1.0, width / height)
  (frame,) = picture.render(scene, scene.motion(), np.zeros(1), height, width)
  return frame


def sample(character: Character, rate_hz: int) -> np.ndarray:
  """float32 [S, 1] in (-1, 1), the voice that says `SAID`."""
  speaker = _speaker(character, SAID, 1.0)
  seconds = speaker.syllables[-1].end_s + BEGIN_S
  scene = _scene(character, SAID, seconds, 1.0)
  made = sound.render(
    scene, scene.motion(), np.random.default_rng(0), samples=round(seconds * rate_hz),
    rate_hz=rate_hz, channels=1,
  )  # fmt: skip
  return sound.limited(made)


def _speaker(character: Character, words: tuple[str, ...], width: float) -> Speaker:
  return Speaker(character, (width / 2, 0.5), RADIUS, words, BEGIN_S)


def _scene(character: Character, words: tuple[str, ...], seconds: float, width: float) -> Scene:
  speaker = _speaker(character, words, width)
  return Scene((), WALL, GROUND, Camera(), seconds, width, speaker=speaker)
