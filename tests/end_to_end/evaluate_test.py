"""A model is judged as the benchmark says, and a run that was killed goes on."""

import json

from programs import run

ROWS = ('truth', 'model', 'sound and picture apart', 'sound of another clip')


def test_a_model_is_judged_in_four_rows_and_what_is_there_is_not_made_again(walk, tmp_path):
  flags = [f'--checkpoint={walk}/run', f'--out={tmp_path}', '--count=2', '--batch=2']
  said = run('launch/evaluate.py', *flags)
  found = json.loads((tmp_path / 'report.json').read_text())
  assert tuple(found) == ROWS and all(row in said for row in ROWS)
  assert found['truth']['sync_beyond_chance'] == 1
  assert found['sound of another clip']['sync_beyond_chance'] == 0
  assert found['truth']['count'] == 1 and len(found['model']['clips']) == 2
  page = (tmp_path / 'report.html').read_text()
  assert page.count('data:video/mp4') == 6 and 'http' not in page
  films = sorted(tmp_path.glob('clips/*/*.mp4'))
  assert len(films) == 8
  lost = tmp_path / 'clips/model/0001.mp4'
  before = {film: film.stat().st_mtime_ns for film in films if film != lost}
  whole = lost.read_bytes()
  lost.unlink()
  run('launch/evaluate.py', *flags)
  assert {film: film.stat().st_mtime_ns for film in before} == before
  assert lost.read_bytes() == whole
  assert json.loads((tmp_path / 'report.json').read_text()) == found
