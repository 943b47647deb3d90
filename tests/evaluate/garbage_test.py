"""Judges of clips that show and sound like nothing: a verdict, never an error."""

import numpy as np
import pytest

from sorajax.clip import Clip
from sorajax.evaluate import benchmark
from sorajax.evaluate.judges import judge, judge_cuts, judge_speech
from sorajax.geometry import samples_of
from sorajax.worlds.scene import COLOURS

SHAPE = benchmark.FRAMES, benchmark.SIZE, benchmark.SIZE, 3
SAMPLES = samples_of(benchmark.FRAMES, benchmark.FPS, benchmark.RATE_HZ)
BLACK = np.zeros(SHAPE, np.uint8)
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, SHAPE).astype(np.uint8)
SILENCE = np.zeros((SAMPLES, 1), np.float32)
HISS = RNG.uniform(-1, 1, (SAMPLES, 1)).astype(np.float32)


def painted(rows, columns) -> np.ndarray:
  picture = BLACK.copy()
  picture[:, rows, columns] = COLOURS['red']
  return picture


PICTURES = {
  'black': BLACK, 'white': BLACK + 255, 'noise': NOISE,
  'squares': NOISE[:, ::8, ::8].repeat(8, axis=1).repeat(8, axis=2),
  'a line': painted(30, slice(None)), 'a column': painted(slice(None), 30),
  'a dot': painted(30, 30),
}  # fmt: skip
SOUNDS = {'silence': SILENCE, 'hiss': HISS, 'full scale': SILENCE + 1}


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('picture', PICTURES)
def test_a_clip_of_nothing_is_worth_little(picture):
  room, line = benchmark.prompt('test', 0), benchmark.spoken('test', 0)
  board = benchmark.storyboard('test', 0)
  for audio in SOUNDS.values():
    clip = Clip(PICTURES[picture], audio, benchmark.FPS, benchmark.RATE_HZ)
    assert judge(clip, room.scene).worth < 0.6
    assert judge_speech(clip, line.speaker).worth < 0.6
    assert judge_cuts(clip, board.scenes, board.spans).cast == 0
