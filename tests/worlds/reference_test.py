"""A character has one portrait and one sample of speech, wherever it plays."""

import dataclasses

import numpy as np

from sorajax.worlds import face, reference
from sorajax.worlds.scene import COLOURS

ONE, TWO = (face.draw_character(np.random.default_rng(n), list(COLOURS)) for n in range(2))
MIXED = dataclasses.replace(ONE, voice=TWO.voice)


def test_a_portrait_shows_the_face_alone():
  picture = reference.portrait(ONE, 48, 64)
  assert picture.shape == (48, 64, 3) and picture.dtype == np.uint8
  np.testing.assert_array_equal(picture, reference.portrait(MIXED, 48, 64))
  assert (picture != reference.portrait(TWO, 48, 64)).any()


def test_a_sample_sounds_of_the_voice_alone():
  sound = reference.sample(MIXED, 16_000)
  assert sound.dtype == np.float32 and sound.shape[1] == 1 and 0.05 < np.abs(sound).max() < 1
  np.testing.assert_array_equal(sound, reference.sample(TWO, 16_000))
  own = reference.sample(ONE, 16_000)
  assert len(own) != len(sound) or (own != sound).any()
