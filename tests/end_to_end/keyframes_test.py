"""Clips that come by given pictures at given moments, every stage through its command line."""

import numpy as np
import pytest
from programs import run, taught

from sorajax.media import reader

pytestmark = pytest.mark.long
AT_S = 0.75


@pytest.fixture(scope='module')
def shown(walk, tmp_path_factory):
  """A run that learned to make clips by some of their own frames."""
  folder = tmp_path_factory.mktemp('keyframes')
  taught(walk, folder, ['--keyframes=4'], steps=600, flags=['--config.train.tasks.keyframes=4.0'])
  return folder / 'run'


def frame(film):
  return reader.read(film, frames=8, fps=8.0, size=(16, 16)).video[round(8 * AT_S)].astype(float)


def test_a_clip_comes_by_its_keyframe_at_its_moment(walk, shown, tmp_path):
  pictures, made = [], []
  for number in (2, 5):
    film, out = walk / 'films' / f'film{number}.mp4', tmp_path / str(number)
    first = reader.read(film, frames=1, fps=8.0, size=(16, 16)).video[0]
    run('launch/sample.py', f'--checkpoint={shown}', f'--keyframe={film}@{AT_S}', f'--out={out}')
    pictures.append(first.astype(float))
    made.append(frame(next(out.glob('*.mp4'))))
  apart = np.array([[np.abs(seen - p).mean() for p in pictures] for seen in made])
  assert apart[0, 0] < 0.7 * apart[0, 1] and apart[1, 1] < 0.7 * apart[1, 0], apart


def test_such_a_clip_is_made_again(walk, shown, tmp_path):
  film = walk / 'films' / 'film3.mp4'
  asked = [f'--checkpoint={shown}', f'--keyframe={film}@0', f'--keyframe={film}@1']
  run('launch/sample.py', *asked, f'--out={tmp_path}/one')
  record = next((tmp_path / 'one').glob('*.json'))
  run('launch/sample.py', f'--checkpoint={shown}', f'--again={record}', f'--out={tmp_path}/two')
  one, two = (next((tmp_path / name).glob('*.mp4')) for name in ('one', 'two'))
  assert one.read_bytes() == two.read_bytes()
