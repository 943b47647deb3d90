"""The record of a clip: what it can be made from again."""

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sorajax import build
from sorajax.errors import UserError, one_line
from sorajax.generate.request import Request
from sorajax.media.source import file_hash
from sorajax.settings import Settings

PACKAGES = ('jax', 'jaxlib', 'flax', 'numpy', 'av', 'sorajax')
READ = ('given', 'given_sound', 'reference', 'keyframes')  # of a request, which its paths tell of
SECTIONS = ('codec', 'transformer', 'text', 'flow', 'sample')  # of a config, which make a clip
# What a request says by itself, and where and how the same is computed.
FREE = {
  'seconds', 'fps', 'height', 'width', 'batch', 'attention', 'remat', 'unroll', 'folder', 'encoded',
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What, beside the request, makes a clip.

  Attributes:
    checkpoint: folder of the model.
    checkpoint_step: of its weights.
    weights: a hash of some of them.
    flags: by which it differs from its checkpoint, as a command line has them.
    config: its settings.
  """

  checkpoint: str
  checkpoint_step: int
  weights: str
  flags: tuple[str, ...]
  config: Settings


def record(
  request: Request, batch: int, row: int, recipe: Recipe | Mapping[str, Any]
) -> dict[str, Any]:  # fmt: skip
  """What is written beside a clip, as json has it.

  Args:
    request: what was asked for.
    batch: how many clips were sampled together.
    row: which of them it is.
    recipe: what else makes it.
  """
  asked = {f.name: getattr(request, f.name) for f in dataclasses.fields(request)}
  versions = {name: importlib.metadata.version(name) for name in PACKAGES}
  versions['python'] = platform.python_version()
  more = dataclasses.asdict(recipe) if isinstance(recipe, Recipe) else recipe
  text = {
    'request': {name: value for name, value in asked.items() if name not in READ},
    'files': files(request, more.get('flags', ())),
    'batch': batch, 'row': row, **more, 'versions': versions,
  }  # fmt: skip
  return json.loads(json.dumps(text))


def files(request: Request, flags: Sequence[str]) -> list[str]:
  """Hashes of the files that a clip is made of, in the order of their names; '' for none."""
  return [file_hash(path) for path in named(request, flags)]


def named(request: Request, flags: Sequence[str]) -> list[str]:
  """The files and folders that a request and flags name."""
  given = request.given_path, request.reference_path, *request.keyframe_paths
  return [*given, *(flag.partition('=')[2] for flag in flags)]


def is_of(path: Path, wanted: Mapping[str, Any]) -> bool:
  """Whether a record is there and tells of the same making, by whatever versions."""
  try:
    found = json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError):
    return False
  return isinstance(found, dict) and {**found, 'versions': wanted['versions']} == wanted


def read(path: str) -> tuple[Request, int, int, dict[str, Any]]:
  """(request, batch, row, the whole record); `UserError` for what is no record of a clip."""
  if not Path(path).is_file():
    raise UserError(f'no record {path}; give the json that lies beside a sampled clip')
  try:
    text = json.loads(Path(path).read_text(encoding='utf-8'))
    batch, row = int(text['batch']), int(text['row'])
    int(text['checkpoint_step'])
    if not 0 <= row < batch:
      raise ValueError(f'row {row} of {batch}')
    return Request(**dict(text['request'])), batch, row, text
  except (ValueError, KeyError, TypeError) as error:
    reason = one_line(error)[:120]
    raise UserError(
      f'{path} is not the record of a clip ({reason}); give the json that lies beside one'
    ) from error


def check_same(path: str, request: Request, text: Mapping[str, Any], recipe: Recipe) -> None:
  """Raises unless a record is of this very model and of files as they are, as far as it tells."""
  step = int(text['checkpoint_step'])
  if step != recipe.checkpoint_step:
    raise UserError(
      f'{path} is of step {step} and the checkpoint of step {recipe.checkpoint_step}; give '
      f'--checkpoint={recipe.checkpoint}/checkpoints/{step}'
    )
  flags, own = text.get('flags', recipe.flags), recipe.flags
  bare = lambda flags: [flag.partition('=')[0] for flag in flags]
  if bare(flags) != bare(own):
    raise UserError(
      f'{path} was made with {" ".join(flags) or "no flag"} and not with '
      f'{" ".join(own) or "none"}; give the same'
    )
  hashes = files(request, own)
  if text.get('files', hashes) != hashes:
    names = ', '.join(filter(None, named(request, own)))
    raise UserError(f'{path} was made of other files than {names} are now; give those')
  now = json.loads(json.dumps(dataclasses.asdict(recipe.config)))
  was = text.get('config') or {}
  for section in (name for name in SECTIONS if name in was):
    key = build.difference(was[section], now[section], section, FREE, shared=True)
    if key:
      raise UserError(
        f'{path} was made with another config.{key}; give the --config and the --config.… flags '
        'that it was made with'
      )
  if text.get('weights', recipe.weights) != recipe.weights:
    raise UserError(
      f'{path} was made by other weights than those of {recipe.checkpoint}; give the checkpoint '
      f'of {text.get("checkpoint")}'
    )
