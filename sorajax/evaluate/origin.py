"""What the clips of an evaluation were made of, kept beside them so that no others are judged."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sorajax.errors import UserError, cannot_read
from sorajax.generate import service
from sorajax.generate.service import Model
from sorajax.media.atomic import write_text

KEPT = 'made_of.json'
ASKED = ('seconds', 'fps', 'height', 'width', 'batch')  # by the benchmark, whatever a config says


def of(model: Model, split: str) -> dict[str, Any]:
  """What the clips that a model makes of the prompts of a split depend on, as json has it."""
  sample = dataclasses.asdict(model.settings.sample)
  config = {
    'flow': {'shift': model.settings.flow.shift},
    'sample': {name: value for name, value in sample.items() if name not in ASKED},
  }
  known = {'split': split, 'step': model.step, 'weights': service.fingerprint(model.params)}
  return json.loads(json.dumps({**known, **dict(_flat(config, 'config'))}))


def keep(clips: Path, origin: Mapping[str, Any]) -> None:
  """Writes what clips are made of into their folder.

  Raises:
    UserError: there are clips of another origin, or of none that is known.
  """
  file = clips / KEPT
  if not file.exists():
    if next(clips.glob('*/*/*.mp4'), None) is not None:
      raise UserError(f'{clips} has clips and no {KEPT} of their model; choose another --out')
    write_text(file, json.dumps(origin, indent=1) + '\n')
    return
  try:
    before = dict(json.loads(file.read_text(encoding='utf-8')))
  except (OSError, ValueError, TypeError) as error:
    raise cannot_read(file, error) from error
  for name in {**origin, **before}:
    was, now = (known.get(name, 'nothing') for known in (before, origin))
    if was != now:
      raise UserError(
        f'the clips in {clips} were made with {name} {was} and now it is {now}; choose another '
        '--out'
      )


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
  """The leaves of nested dicts by dotted names."""
  if not isinstance(value, dict):
    yield name, value
    return
  for key, part in value.items():
    yield from _flat(part, f'{name}.{key}')
