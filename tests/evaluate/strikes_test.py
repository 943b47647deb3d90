"""Strikes are heard when they sound."""

import numpy as np
import pytest

from sorajax.clip import Clip
from sorajax.evaluate import strikes
from sorajax.worlds import sound
from sorajax.worlds.scene import MATERIALS

RATE = 16_000
TIMES = (0.31, 0.9, 1.24, 2.0)


def clip(audio: np.ndarray) -> Clip:
  return Clip(np.zeros((30, 8, 8, 3), np.uint8), audio[:, None].astype(np.float32), 12.0, RATE)


def struck(material: str, times=TIMES, speed: float = 0.6, hiss: float = 5e-4) -> np.ndarray:
  audio = hiss * np.random.default_rng(0).standard_normal(round(2.5 * RATE))
  made = sound.strike(MATERIALS[material], 0.1, speed, RATE)
  for time_s in times:
    first = round(time_s * RATE)
    part = made[: len(audio) - first]
    audio[first : first + len(part)] += part
  return audio


@pytest.mark.parametrize('material', MATERIALS)
@pytest.mark.parametrize('speed', [0.3, 1.5])
def test_every_material_is_heard_within_a_hundredth_of_a_second(material, speed):
  found = strikes.times_s(clip(struck(material, speed=speed)))
  np.testing.assert_allclose(found, TIMES, atol=0.01)


def test_silence_hiss_and_a_hum_are_no_strikes():
  t = np.arange(2 * RATE) / RATE
  for audio in (0 * t, 5e-4 * np.random.default_rng(1).standard_normal(len(t)),
                0.004 * np.sin(2 * np.pi * 100 * t)):  # fmt: skip
    assert len(strikes.times_s(clip(audio))) <= 1  # a hum has a beginning


def test_two_blows_are_two_where_one_rings_on():
  audio = struck('metal', (0.5,)) + struck('wood', (0.7,), hiss=0.0)
  np.testing.assert_allclose(strikes.times_s(clip(audio)), (0.5, 0.7), atol=0.01)
