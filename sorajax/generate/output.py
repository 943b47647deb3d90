"""What a sampled clip leaves behind: the film, its contact sheet, and the record of its making."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from sorajax.errors import UserError
from sorajax.generate import records
from sorajax.generate.records import Recipe
from sorajax.generate.request import Request
from sorajax.generate.sampler import Made
from sorajax.media import sheet, writer
from sorajax.media.atomic import make_folder, write_text

INDEXED = 100


def write_clips(
  folder: str | os.PathLike[str], made: Iterable[Made], recipe: Recipe | Mapping[str, Any]
) -> list[Path]:
  """Writes `NAME.mp4`, `NAME.png` and `NAME.json` for each clip, and `index.png`.

  Args:
    folder: made if it is missing.
    made: clips as they are finished.
    recipe: what, beside the request, makes the clip.

  Returns:
    the films, as they were finished.
  """
  films = [write_clip(folder, one, recipe) for one in made]
  write_index(folder, films)
  return films


def write_clip(
  folder: str | os.PathLike[str], made: Made, recipe: Recipe | Mapping[str, Any], name: str = ''
) -> Path:
  """Writes a clip, its sheet and, last, its record, under a name of its own or by its number.

  Returns:
    the film.
  """
  film = film_of(make_folder(folder), made.number, made.request)
  film = film.with_stem(name) if name else film
  writer.write(film, made.clip)
  picture = sheet.contact_sheet(made.clip, _title(made.request))
  sheet.save_image(film.with_suffix('.png'), picture)
  text = records.record(made.request, made.batch, made.row, recipe)
  write_text(film.with_suffix('.json'), json.dumps(text, indent=2, ensure_ascii=False) + '\n')
  return film


def write_index(folder: str | os.PathLike[str], films: Sequence[Path]) -> None:
  """Writes `index.png`, the sheets of several films, the first hundred, one below the other."""
  if len(films) > 1:
    sheets = []
    for film in films[:INDEXED]:
      with Image.open(film.with_suffix('.png')) as picture:
        sheets.append(picture.convert('RGB'))
    sheet.save_image(Path(folder) / 'index.png', sheet.stack_sheets(sheets))


def is_there(film: Path, request: Request, batch: int, row: int, recipe: Recipe) -> bool:
  """Whether this very clip was written, of files as they are now."""
  whole = film.is_file() and film.with_suffix('.png').is_file()
  note = film.with_suffix('.json')
  return whole and records.is_of(note, records.record(request, batch, row, recipe))


def check_apart(films: Sequence[Path], requests: Sequence[Request]) -> None:
  """Raises where a film would be written over what one of the requests is made of."""
  given = {Path(path).resolve() for r in requests for path in records.named(r, ()) if path}
  for film in films:
    for file in (film, film.with_suffix('.png')):
      if file.resolve() in given:
        raise UserError(f'{file} is given and would be written over; name another --out')


def film_of(folder: str | os.PathLike[str], number: int, request: Request) -> Path:
  """Where the clip of a request goes."""
  return Path(folder) / f'{number:03d}_{_slug(request)}.mp4'


def _title(request: Request) -> str:
  task = '' if request.task == 'text_to_clip' else f'[{request.task}] '
  return f'{task}{request.prompt or "(no prompt)"} · seed {request.seed}'


def _slug(request: Request) -> str:
  words = re.sub(r'[^a-z0-9]+', '-', request.prompt.lower()).strip('-')[:40].rstrip('-')
  return words or request.task
