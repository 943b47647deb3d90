"""What is said is heard when it is said, and the mouth moves with it."""

import numpy as np
import pytest

from sorajax.worlds import face, speech
from sorajax.worlds.speech import VOWELS, WORDS, Voice, mouth, spoken

VOICE = Voice(pitch_hz=120.0, tract=1.0, pace_s=0.25, melody=0.0)
RATE = 16_000


def said(words, voice=VOICE, start_s=0.3, seconds=2.0):
  syllables = spoken(words, voice, start_s)
  sound = speech.render(syllables, voice, np.random.default_rng(0), round(seconds * RATE), RATE)
  return syllables, sound


def spectrum(sound, begin_s, end_s):
  part = sound[round(begin_s * RATE) : round(end_s * RATE)]
  return np.abs(np.fft.rfft(part * np.hanning(len(part)), 2**15)), np.fft.rfftfreq(2**15, 1 / RATE)


@pytest.mark.parametrize('word', WORDS)
def test_words_are_made_of_known_syllables_and_sound_while_they_are_said_alone(word):
  syllables, sound = said((word,))
  assert ''.join(s.text for s in syllables) == word
  loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max()) / RATE
  assert syllables[0].start_s <= loud[0] < syllables[0].vowel_s + 0.01
  assert syllables[-1].end_s - 0.05 < loud[-1] <= syllables[-1].end_s + 1e-3


@pytest.mark.parametrize('word', ['mama', 'lunu', 'sosa'])
@pytest.mark.parametrize('tract', [1.0, 1.15])
def test_a_vowel_is_loudest_near_its_first_formant(word, tract):
  voice = Voice(100.0, tract, 0.3, 0.0)
  syllables, sound = said((word,), voice)
  s = syllables[-1]
  power, hz = spectrum(sound, s.vowel_s + 0.1, s.end_s - 0.05)
  expected = VOWELS[s.text[1]].formants_hz[0] * tract
  assert abs(hz[power.argmax()] - expected) <= 100.0  # the nearest harmonic


@pytest.mark.parametrize('pitch', [100.0, 170.0, 240.0])
def test_the_voice_has_its_pitch(pitch):
  syllables, sound = said(('mama',), Voice(pitch, 1.0, 0.3, 0.0))
  s = syllables[1]
  part = sound[round((s.vowel_s + 0.06) * RATE) : round((s.end_s - 0.06) * RATE)]
  same = np.correlate(part, part, 'full')[len(part) - 1 :]
  lags = np.arange(RATE // 300, RATE // 80)
  assert RATE / lags[same[lags].argmax()] == pytest.approx(pitch, rel=0.02)


def test_words_differ_from_one_another():
  power = []
  for word in WORDS:
    syllables, sound = said((word,))
    halves = [
      np.log(spectrum(sound, s.vowel_s + 0.05, s.end_s - 0.05)[0][: 2**13].reshape(64, -1).mean(1))
      for s in syllables
    ]
    power.append(np.concatenate(halves))
  apart = np.linalg.norm(np.array(power)[:, None] - np.array(power), axis=-1)
  assert apart[~np.eye(len(WORDS), dtype=bool)].min() > 3


def test_the_mouth_is_shut_before_and_after_and_opens_with_each_vowel():
  syllables = spoken(('mama', 'bido'), VOICE, 0.3)
  opening, _ = mouth(syllables, np.array([0.0, 0.2, 1.9]))
  assert not opening.any()
  for s in syllables:
    middle = np.array([(s.vowel_s + s.end_s) / 2])
    assert mouth(syllables, middle)[0] == VOWELS[s.text[1]].opening
  closed = np.array([(s.start_s + s.vowel_s) / 2 for s in syllables if s.text[0] in 'mb'])
  assert not mouth(syllables, closed)[0].any()


def test_a_face_shows_its_mouth_as_open_as_it_is():
  who = face.draw_character(np.random.default_rng(0), ['red', 'blue', 'white'])
  speaker = face.Speaker(who, (0.5, 0.5), 0.4, ('mama',), 0.5)
  middle = speaker.syllables[0]
  x = (np.arange(64) + 0.5) / 64
  dark = []
  for t in (0.0, (middle.vowel_s + middle.end_s) / 2):
    painted = face.layers(speaker, t, x, x[::-1], 1 / 64, lambda name: np.full(3, 200.0))
    dark.append(painted[-1][0].sum())  # how many pixels the mouth covers
  assert dark[1] > 3 * dark[0]
  assert speaker.mouth(np.array([0.0]))[0] == 0


def test_characters_differ():
  drawn = {face.draw_character(np.random.default_rng(n), ['red', 'blue']) for n in range(20)}
  assert len(drawn) == 20
