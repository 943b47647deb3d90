"""Clips made after others, every stage through its command line."""

import json

import numpy as np
import pytest
from programs import run, taught

from sorajax.media import reader

pytestmark = pytest.mark.long


@pytest.fixture(scope='module')
def drawn(walk, tmp_path_factory):
  """A run that learned to make clips after themselves, the easiest of all."""
  folder = tmp_path_factory.mktemp('reference')
  taught(walk, folder, ['--reference=picture'], steps=300)
  return folder / 'run'


def test_held_out_pictures_hold_little_that_their_references_do_not_tell(drawn):
  lines = [json.loads(line) for line in (drawn / 'metrics.jsonl').read_text().splitlines()]
  losses = [line['loss_video'] for line in lines if line['kind'] == 'held_out']
  assert losses[-1] < 0.6 * losses[0]


def test_a_clip_is_nearer_to_its_reference_than_to_another(walk, drawn, tmp_path):
  films = [walk / 'films' / f'film{number}.mp4' for number in (2, 5)]
  made = []
  for film in films:
    out = tmp_path / film.stem
    run('launch/sample.py', f'--checkpoint={drawn}', f'--reference={film}', f'--out={out}')
    made.append(reader.read(next(out.glob('*.mp4'))).video.astype(float))
  own = [reader.read(film, frames=8, fps=8.0, size=(16, 16)).video for film in films]
  apart = np.array([[np.abs(clip - film).mean() for film in own] for clip in made])
  assert apart[0, 0] < 0.7 * apart[0, 1] and apart[1, 1] < 0.7 * apart[1, 0], apart
