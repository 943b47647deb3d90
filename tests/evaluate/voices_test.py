"""A voice is known by its pitch and by its tract, whatever it says."""

import itertools

import numpy as np
import pytest

from sorajax.clip import Clip
from sorajax.evaluate import voices
from sorajax.worlds import speech
from sorajax.worlds.face import Character, Face
from sorajax.worlds.speech import WORDS, Voice

RATE = 16_000
FACE = Face('round', 'red', 'bald', 'blue', 0.4, 0.1, 0.4)
VOICES = [Voice(*v, 0.2) for v in itertools.product((100.0, 150.0, 240.0), (0.96, 1.05, 1.18))]


def heard_as(sound: np.ndarray):
  no_picture = np.zeros((0, 0, 0, 3), np.uint8)
  return voices.heard(Clip(no_picture, sound[:, None].astype(np.float32), 1.0, RATE))


def said(words, voice: Voice) -> np.ndarray:
  syllables = speech.spoken(words, voice, 0.2)
  samples = round((syllables[-1].end_s + 0.2) * RATE)
  return speech.render(syllables, voice, np.random.default_rng(0), samples, RATE)


@pytest.mark.parametrize('voice', VOICES, ids=str)
def test_pitch_and_tract_are_what_made_the_voice(voice):
  found = heard_as(said(('bido', 'neki'), voice))
  assert found.pitch_hz == pytest.approx(voice.pitch_hz, rel=0.05)
  assert found.tract == pytest.approx(voice.tract, abs=0.02)


def test_a_voice_is_its_own_whatever_it_says_and_no_other():
  samples = [voices.of(Character(FACE, voice), RATE) for voice in VOICES]
  for number, voice in enumerate(VOICES):
    found = heard_as(said(WORDS[number % 7 : number % 7 + 2], voice))
    assert [found.same(sample) for sample in samples] == [voice == other for other in VOICES]


def test_noise_20_db_below_leaves_a_voice_its_own():
  sound = said(('mama', 'kale'), VOICES[4])
  noise = np.random.default_rng(1).standard_normal(len(sound)) * np.std(sound) / 10
  assert heard_as(sound).same(heard_as(sound + noise))


@pytest.mark.parametrize(('hz', 'told'), [(100.0, ['low']), (150.0, []), (240.0, ['high'])])
def test_a_voice_is_as_low_or_as_high_as_it_is(hz, told):
  found = heard_as(said(('mama',), Voice(hz, 1.0, 0.2)))
  assert [register for register in ('low', 'high') if found.fits(register)] == told


def test_silence_and_noise_have_no_voice():
  assert heard_as(np.zeros(RATE)) is None
  assert heard_as(np.random.default_rng(0).normal(0, 0.1, RATE)) is None
