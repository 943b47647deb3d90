"""A model is judged as the benchmark says, and a run that was killed goes on."""

import json

import pytest
from programs import run

pytestmark = pytest.mark.long
ROWS = ('truth', 'model', 'sound and picture apart', 'sound of another clip')


def test_a_model_is_judged_in_four_rows_and_what_is_there_is_not_made_again(walk, tmp_path):
  flags = [f'--checkpoint={walk}/run', f'--out={tmp_path}', '--count=2', '--batch=2']
  flags.append('--kinds=rooms,speakers,storyboards,first frames')
  said = run('launch/evaluate.py', *flags)
  found = json.loads((tmp_path / 'report.json').read_text())
  assert all(row in said for row in ROWS)
  for kind in ('rooms', 'speakers', 'first frames'):
    assert tuple(found[kind]) == ROWS and len(found[kind]['model']['clips']) == 2
    assert found[kind]['truth']['sync_beyond_chance'] == 1
    assert found[kind]['sound of another clip']['sync_beyond_chance'] == 0
  assert found['rooms']['truth']['count'] == found['speakers']['truth']['words'] == 1
  assert found['storyboards']['truth']['cuts'] == 1
  assert found['first frames']['truth']['given_db'] > 30
  assert found['rooms']['truth']['given_db'] is None
  page = (tmp_path / 'report.html').read_text()
  assert page.count('data:video/mp4') == 24 and 'http' not in page
  films = sorted(tmp_path.glob('clips/*/*/*.mp4'))
  assert len(films) == 32
  lost = tmp_path / 'clips/rooms/model/0001.mp4'
  before = {film: film.stat().st_mtime_ns for film in films if film != lost}
  whole = lost.read_bytes()
  lost.unlink()
  run('launch/evaluate.py', *flags)
  assert {film: film.stat().st_mtime_ns for film in before} == before
  assert lost.read_bytes() == whole
  assert json.loads((tmp_path / 'report.json').read_text()) == found
