"""Cuts are found where a storyboard has them, and missed where it is not followed."""

import dataclasses

import pytest

from sorajax.evaluate import benchmark, faults
from sorajax.evaluate.judges import all_cuts, judge_cuts
from sorajax.worlds.scene import COLOURS

BOARDS = [benchmark.storyboard('test', number, 5) for number in range(8)]


def judged(fault):
  others = [*BOARDS[1:], BOARDS[0]]
  clips = [fault(asked, other) for asked, other in zip(BOARDS, others)]
  return all_cuts([judge_cuts(clip, b.scenes, b.spans) for clip, b in zip(clips, BOARDS)])


def test_a_storyboard_has_a_caption_and_frames_for_each_shot_of_the_same_bodies():
  assert {len(board.scenes) for board in BOARDS} == {2, 3}
  for board in BOARDS:
    assert len(board.text.split('; cut to: ')) == len(board.scenes) == len(board.spans)
    assert [frame for span in board.spans for frame in span] == list(range(benchmark.FRAMES))
    casts = {tuple((b.colour, b.shape, b.material) for b in s.bodies) for s in board.scenes}
    assert len(casts) == 1


def test_truth_is_nearly_perfect():
  found = judged(lambda asked, other: benchmark.shown_shots(asked))
  assert min(found.cut_precision, found.cut_recall, found.cast) > 0.95


@pytest.mark.parametrize(
  ('fault', 'name', 'most'),
  [
    ('cut 4 frames late', 'cuts', 0.1),
    ('not cut', 'cut_recall', 0.0),
    ('cut once more', 'cut_precision', 0.8),
    ('other bodies after the first cut', 'cast', 0.6),
  ],
)
def test_a_fault_moves_its_measure(fault, name, most):
  assert getattr(judged(faults.CUT_FAULTS[fault]), name) <= most


def test_a_cut_too_many_hides_none_and_other_bodies_move_no_cut():
  assert judged(faults.CUT_FAULTS['cut once more']).cut_recall > 0.95
  assert judged(faults.CUT_FAULTS['other bodies after the first cut']).cuts > 0.95


def test_a_body_or_a_patch_of_one_frame_is_in_no_cast():
  board, whole = BOARDS[0], benchmark.shown_shots(BOARDS[0])
  cast = lambda video: (
    judge_cuts(dataclasses.replace(whole, video=video), board.scenes, board.spans).cast
  )
  own = {body.colour for body in board.scenes[0].bodies}
  once, stray = 0 * whole.video, whole.video.copy()
  for span in board.spans:
    once[span.start + 3] = whole.video[span.start + 3]
    stray[span.start + 3, 5:12, 5:12] = next(p for name, p in COLOURS.items() if name not in own)
  assert cast(whole.video) == cast(stray) == 1 and cast(once) == 0
