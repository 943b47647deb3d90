"""What is said is understood, and mouths are seen to open when they do."""

import dataclasses

import numpy as np
import pytest

from sorajax.evaluate import benchmark, faults, speech
from sorajax.evaluate.judges import judge_speech, together

SCENES = [benchmark.spoken('test', number, 5).scene for number in range(10)]
CLIPS = [benchmark.shown(scene) for scene in SCENES]


def judged(fault):
  others = [*SCENES[1:], SCENES[0]]
  clips = [fault(asked, other) for asked, other in zip(SCENES, others)]
  return together([judge_speech(clip, scene) for clip, scene in zip(clips, SCENES)])


def test_words_are_understood_and_parted_where_they_part():
  for clip, scene in zip(CLIPS, SCENES):
    assert len(speech.spans(clip)) == len(scene.speaker.words)
  assert judged(lambda asked, other: benchmark.shown(asked)).words > 0.9


def test_vowels_are_heard_and_mouths_seen_to_open_when_they_do():
  late, open_late = [], []
  for clip, scene in zip(CLIPS, SCENES):
    heard = speech.vowels_s(clip)
    seen = speech.openings_s(clip, scene.speaker.character.face.skin)
    for syllable in scene.speaker.syllables:
      late.append(np.abs(heard - syllable.vowel_s).min())
      open_late.append(np.abs(seen - syllable.vowel_s).min())
  assert np.mean(np.array(late) < 0.06) > 0.95
  assert np.mean(np.array(open_late) * benchmark.FPS < 1.5) > 0.9


def test_truth_is_in_step_and_each_fault_moves_its_measure():
  true = judged(lambda asked, other: benchmark.shown(asked))
  found = {name: judged(fault) for name, fault in faults.SPOKEN_FAULTS.items()}
  assert true.sync.f1 > 0.9 and true.lag_frames < 0.5
  assert found['mouth 4 frames late'].sync.f1 < true.sync.f1 - 0.3
  assert found['mouth 2 frames late'].lag_frames > true.lag_frames + 0.5
  assert found['sound of another clip'].sync.f1 < true.sync.f1 - 0.3
  assert found['other words'].words < 0.1
  assert found['other words'].sync.f1 > 0.85  # they are said in step


@pytest.mark.parametrize('part', ['video', 'audio'])
def test_a_face_that_is_not_there_and_silence_say_nothing(part):
  whole = CLIPS[0]
  empty = dataclasses.replace(whole, **{part: 0 * getattr(whole, part)})
  verdict = judge_speech(empty, SCENES[0])
  assert verdict.sync.matched == 0
  assert (verdict.words == 0) == (part == 'audio')
