import os
from types import SimpleNamespace

from sorajax.generate import output, records
from sorajax.generate.request import Request


def test_a_clip_is_made_anew_where_what_it_starts_from_has_changed(tmp_path, monkeypatch):
  monkeypatch.setattr(records, 'record', lambda request, batch, row, recipe: {'versions': {}})
  given, film = tmp_path / 'given.png', tmp_path / 'film.mp4'
  for file in (given, film):
    file.touch()
  film.with_suffix('.json').write_text('{"versions": {}}')
  request = Request('', 0, 1.0, 8.0, 8, 8, task='image_to_clip', given_path=str(given))
  there = lambda: output.is_there(film, request, 1, 0, SimpleNamespace(flags=()))
  os.utime(given, (1, 1))
  assert there()
  later = film.with_suffix('.json').stat().st_mtime + 5
  os.utime(given, (later, later))
  assert not there()
