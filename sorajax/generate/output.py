"""What a sampled clip leaves behind: the film, its contact sheet, and the record of its making."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sorajax.generate.request import Request
from sorajax.generate.sampler import Made
from sorajax.media import sheet, writer
from sorajax.media.atomic import make_folder, write_text

PACKAGES = ('jax', 'jaxlib', 'flax', 'numpy', 'av', 'sorajax')


def write_clips(
  folder: str | os.PathLike[str], made: Iterable[Made], recipe: dict[str, Any]
) -> list[Path]:
  """Writes `NAME.mp4`, `NAME.png` and `NAME.json` for each clip, and `index.png` of all.

  Args:
    folder: made if it is missing.
    made: clips as they are finished.
    recipe: what, beside the request, makes the clip: checkpoint, config, …

  Returns:
    the films, in order.
  """
  path = make_folder(folder)
  films, sheets = [], []
  for number, one in enumerate(made):
    name = f'{number:03d}_{_slug(one.request)}'
    film = path / f'{name}.mp4'
    writer.write(film, one.clip)
    picture = sheet.contact_sheet(one.clip, _title(one.request))
    sheet.save_image(path / f'{name}.png', picture)
    text = json.dumps(record(one, recipe), indent=2, ensure_ascii=False)
    write_text(path / f'{name}.json', text + '\n')
    films.append(film)
    sheets.append(picture)
  if len(sheets) > 1:
    sheet.save_image(path / 'index.png', sheet.stack_sheets(sheets))
  return films


def record(made: Made, recipe: dict[str, Any]) -> dict[str, Any]:
  """Everything that the clip can be made from again."""
  request = {
    f.name: getattr(made.request, f.name)
    for f in dataclasses.fields(Request)
    if f.name not in ('given', 'given_sound', 'reference', 'keyframes')  # which their paths tell of
  }
  versions = {name: importlib.metadata.version(name) for name in PACKAGES}
  versions['python'] = platform.python_version()
  return {
    'request': request, 'batch': made.batch, 'row': made.row, **recipe, 'versions': versions,
  }  # fmt: skip


def _title(request: Request) -> str:
  task = '' if request.task == 'text_to_clip' else f'[{request.task}] '
  return f'{task}{request.prompt or "(no prompt)"} · seed {request.seed}'


def _slug(request: Request) -> str:
  words = re.sub(r'[^a-z0-9]+', '-', request.prompt.lower()).strip('-')[:40].rstrip('-')
  return words or request.task
