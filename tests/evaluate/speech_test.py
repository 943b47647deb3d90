"""What is said is understood, and mouths are seen to open when they do."""

import dataclasses

import numpy as np
import pytest

from sorajax.evaluate import benchmark, faults, speech
from sorajax.evaluate.judges import judge_speech, together

LINES = [benchmark.spoken('test', number, 5) for number in range(10)]
CLIPS = [benchmark.shown(line.scene) for line in LINES]


def judged(clips):
  return together([judge_speech(clip, line.speaker) for clip, line in zip(clips, LINES)])


def with_fault(name):
  others = [*LINES[1:], LINES[0]]
  fault = faults.SPOKEN_FAULTS[name]
  return judged([fault(asked, other) for asked, other in zip(LINES, others)])


@pytest.fixture(scope='module')
def true():
  return judged(CLIPS)


def test_words_are_parted_where_they_part():
  for clip, line in zip(CLIPS, LINES):
    assert len(speech.spans(clip)) == len(line.speaker.words)


def test_vowels_are_heard_and_mouths_seen_to_open_when_they_do():
  late, open_late = [], []
  for clip, line in zip(CLIPS, LINES):
    heard = speech.vowels_s(clip)
    seen = speech.openings_s(clip, line.speaker.character.face.skin)
    for syllable in line.speaker.syllables:
      late.append(np.abs(heard - syllable.vowel_s).min())
      open_late.append(np.abs(seen - syllable.vowel_s).min())
  assert np.mean(np.array(late) < 0.06) > 0.95
  assert np.mean(np.array(open_late) * benchmark.FPS < 1.5) > 0.9


def test_truth_is_nearly_perfect(true):
  assert true.sync > 0.9 and true.lag_frames < 0.5
  assert min(true.words, true.register, true.voice, true.face) > 0.9


def test_a_mouth_or_a_sound_out_of_step_is_seen(true):
  assert with_fault('mouth 4 frames late').sync < true.sync - 0.3
  assert with_fault('mouth 2 frames late').lag_frames > true.lag_frames + 0.5
  assert with_fault('sound of another clip').sync < true.sync - 0.3


def test_other_words_are_heard_and_are_in_step():
  found = with_fault('other words')
  assert found.words < 0.1 and found.sync > 0.85 and found.voice > 0.85


def test_the_voice_of_another_is_heard_and_says_the_same_words():
  found = with_fault('the voice of another')
  assert found.voice < 0.4 and found.words > 0.9 and found.face > 0.9


def test_the_face_of_another_is_seen_and_has_the_same_voice():
  found = with_fault('the face of another')
  assert found.face < 0.6 and found.voice > 0.9 and found.words > 0.9


@pytest.mark.parametrize('part', ['video', 'audio'])
def test_a_face_that_is_not_there_and_silence_say_nothing(part):
  whole = CLIPS[0]
  empty = dataclasses.replace(whole, **{part: 0 * getattr(whole, part)})
  verdict = judge_speech(empty, LINES[0].speaker)
  assert verdict.sync.matched == 0
  assert (verdict.words == 0) == (verdict.voice == 0) == (part == 'audio')
  assert (verdict.face == 0) == (part == 'video')
