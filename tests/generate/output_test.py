import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import refused

from sorajax.generate import output, records
from sorajax.generate.request import Request

RECIPE = {'flags': ('--lora=changes',)}


def request(given: Path) -> Request:
  return Request('', 0, 1.0, 8.0, 8, 8, task='image_to_clip', given_path=str(given))


@pytest.mark.parametrize('lost', ['', '.png', '.mp4', '.json'])
def test_a_clip_is_made_anew_where_it_or_what_it_starts_from_is_another(tmp_path, lost):
  """Whenever that was written: a file that is moved here keeps its old time."""
  given, film = tmp_path / 'given.png', tmp_path / 'film.mp4'
  for file in (given, film, film.with_suffix('.png')):
    file.write_bytes(b'a')
  os.utime(given, (2e9, 2e9))
  asked = request(given)
  film.with_suffix('.json').write_text(json.dumps(records.record(asked, 1, 0, RECIPE)))
  there = lambda: output.is_there(film, asked, 1, 0, RECIPE)
  assert there() and not output.is_there(film, asked, 1, 0, {'flags': ()})
  if lost:
    film.with_suffix(lost).unlink()
    assert not there()
    return
  given.write_bytes(b'b')
  os.utime(given, (1, 1))
  assert not there()


def test_a_record_is_of_the_contents_of_its_files(tmp_path, monkeypatch):
  """Also of changes to the model, which their file's name alone does not tell apart."""
  monkeypatch.chdir(tmp_path)
  for name in ('given.png', 'changes'):
    Path(name).write_bytes(b'a')
  asked = request(Path('given.png'))
  first = records.record(asked, 1, 0, RECIPE)
  recipe = SimpleNamespace(checkpoint_step=0, flags=RECIPE['flags'], checkpoint='', weights='')
  for name in ('changes', 'given.png'):
    Path(name).write_bytes(b'b')
    assert records.record(asked, 1, 0, RECIPE)['files'] != first['files']
    with refused('record was made of other files than given.png, changes are now; give those'):
      records.check_same('record', asked, {**first, 'checkpoint_step': 0}, recipe)
    Path(name).write_bytes(b'a')


def test_no_film_is_written_over_what_it_is_made_of(tmp_path):
  own = output.film_of(tmp_path, 0, request(Path('x')))
  output.check_apart([own], [request(tmp_path / 'another.mp4')])
  for file in (own, own.with_suffix('.png')):
    with refused(f'{file} is given and would be written over; name another --out'):
      output.check_apart([own], [request(file)])
