"""Prompts that Gemma read beforehand: a table of their tokens, so that Gemma need not be there.

A folder holds `table.bin`, [N, K] of all tokens of all prompts as the connectors' projections gave
them, `prompts.jsonl`, which says where each prompt's tokens lie, and `table.json`, what made them.
The connectors' own layers, which mix a prompt with registers, are read from the model's folder.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from flax import nnx

from sorajax import sharding
from sorajax.clip import Text
from sorajax.errors import UserError, cannot_read
from sorajax.media.atomic import make_folder, write_text
from sorajax.text.connectors import ConnectorsConfig, Mixers
from sorajax.weights import ltx2_connectors
from sorajax.weights.prompts import PADDING, ReleasedText, one_by_one
from sorajax.weights.shards import Shards, read_json

Params = dict[str, Any]
TABLE, PROMPTS, MADE_OF = 'table.bin', 'prompts.jsonl', 'table.json'
LENGTHS = 128  # prompts are read in lengths of multiples of it, each of which is compiled


@dataclasses.dataclass(frozen=True)
class EncodedText:
  """Prompts of a table → the text of both streams.

  Attributes:
    table: a folder that `store` wrote.
    model: the one that it was made of.
    trainable: False, the weights stay as they are.
  """

  table: str
  model: ReleasedText
  trainable: ClassVar[bool] = False

  def __post_init__(self) -> None:
    made_of, own = read_json(Path(self.table) / MADE_OF), _made_of(self.model)
    odd = [name for name in own if made_of.get(name) != own[name]]
    if odd:
      raise UserError(
        f'{self.table} holds prompts of other {odd[0]} than {self.model.folder} has; encode them '
        'again, into another folder'
      )

  @property
  def width(self) -> int:
    return self.model.width

  @property
  def max_tokens(self) -> int:
    return self.model.max_tokens

  @property
  def connectors(self) -> ConnectorsConfig:
    return self.model.connectors

  def tokenize(self, prompt: str) -> np.ndarray:
    """A prompt as its rows of the table, int32 [max_tokens], padded; `UserError` for a new one."""
    places = _places(self.table)
    if prompt.strip() not in places:
      raise UserError(
        f'{prompt.strip()[:60]!r} is none of the {len(places)} prompts of {self.table}; add it by '
        'launch/encode_prompts.py'
      )
    start, count = places[prompt.strip()]
    rows = np.arange(start, start + count, dtype=np.int32)
    return np.pad(rows, (0, self.max_tokens - count), constant_values=PADDING)

  def initial_params(self, key: jax.Array | None = None) -> Params:
    """The table and the mixing layers, laid over the current mesh."""
    mesh, config = jax.sharding.get_mesh(), self.connectors
    rows = _opened(self.table, config, self.model.dtype)
    axis = 'embed' if sharding.divides(rows.shape[1], 'embed') else None
    layout = jax.NamedSharding(mesh, sharding.spec(None, axis))
    table = jax.make_array_from_callback(rows.shape, layout, lambda index: np.asarray(rows[index]))
    saved = Shards(Path(self.model.folder) / 'connectors')
    mixers = ltx2_connectors.load_mixers(config, saved, mesh, jnp.dtype(self.model.dtype))
    return {'table': table, 'connectors': mixers}

  def encode(self, params: Params, text: Text) -> jax.Array:
    """What the streams read of prompts, [B, L, width]; each of them takes up `max_tokens` places.

    Raises `UserError` where L is no multiple of these.
    """
    config = self.connectors
    cuts = np.cumsum([*config.projections.values()])[:-1].tolist()

    def one(ids):
      mixers = nnx.merge(_graph(config), params['connectors'])
      parts = jnp.split(_rows(params['table'], jnp.maximum(ids, 0)), cuts, axis=-1)
      return mixers.mix(dict(zip(config.projections, parts)), ids != PADDING)

    return one_by_one(one, text.ids, self.max_tokens)


def _rows(table: jax.Array, ids: jax.Array) -> jax.Array:
  """Rows of a table [N, K], of which a device has some columns, at ids [B, L] → [B, L, K]."""
  if not sharding.is_laid():
    return table[ids]
  columns = jax.P(None, None, jax.typeof(table).sharding.spec[1])
  found = table.at[sharding.reshard(ids, None, None)].get(out_sharding=columns)
  return sharding.reshard(found, 'batch', None, None)


def store(
  model: ReleasedText, prompts: Iterable[str], folder: str | os.PathLike[str], batch: int = 8
) -> int:
  """Adds prompts to a table, and the empty one; goes on where a killed run stopped.

  Args:
    model: reads them, with its weights laid over the current mesh.
    prompts: any number; those that the table has are passed over.
    folder: made if it is missing.
    batch: prompts read at once, a multiple of the devices that the mesh lays rows over.

  Returns:
    how many prompts the table has.

  Raises:
    UserError: a table of another model, or a folder that cannot be written to.
  """
  path, writes = make_folder(folder), jax.process_index() == 0
  if (path / MADE_OF).is_file():
    EncodedText(str(path), model)  # raises where it is of another model
  elif writes:
    write_text(path / MADE_OF, json.dumps(_made_of(model)) + '\n')
  if writes and (path / PROMPTS).is_file():
    text = (path / PROMPTS).read_text(encoding='utf-8')
    if not text.endswith('\n'):  # a killed run was about to write the rest
      write_text(path / PROMPTS, text[: text.rfind('\n') + 1])
  known = _read_places(path)
  new = [p for p in dict.fromkeys(['', *(p.strip() for p in prompts)]) if p not in known]
  end = _length(known)
  if new:
    read, params = jax.jit(model.project), model.initial_params()
    size = sum(model.connectors.projections.values()) * jnp.dtype(model.dtype).itemsize
    with tqdm.tqdm(total=len(new), unit='prompt', desc='encode prompts') as bar:
      for some, ids in _batches(model, new, batch):
        parts = sharding.gathered(read(params, sharding.everywhere(ids)))
        whole = np.concatenate([parts[name] for name in model.connectors.projections], axis=-1)
        rows = [one[: np.count_nonzero(own != PADDING)] for one, own in zip(whole, ids)][
          : len(some)
        ]
        if writes:
          _append(path, some, rows, end, size)
        end += sum(map(len, rows))
        bar.update(len(some))
  _places.cache_clear()
  return len(known) + len(new)


def _batches(
  model: ReleasedText, prompts: list[str], batch: int
) -> Iterator[tuple[list[str], np.ndarray]]:
  """Prompts with their ids [batch, L], where L is no longer than it needs to be."""
  for i in range(0, len(prompts), batch):
    some = prompts[i : i + batch]
    ids = np.stack([model.tokenize(p) for p in some + [some[-1]] * (batch - len(some))])
    longest = np.count_nonzero(ids != PADDING, axis=1).max()
    yield some, ids[:, : min(-(-longest // LENGTHS) * LENGTHS, model.max_tokens)]


def _append(path: Path, prompts: list[str], rows: list[np.ndarray], end: int, size: int) -> None:
  """Writes rows after the first `end`, and then where they lie."""
  lines = []
  try:
    (path / TABLE).touch()
    with (path / TABLE).open('r+b') as file:
      file.truncate(end * size)  # what a killed run wrote and did not name
      file.seek(end * size)
      for prompt, own in zip(prompts, rows):
        file.write(np.ascontiguousarray(own).tobytes())
        lines.append(json.dumps({'prompt': prompt, 'start': end, 'count': len(own)}) + '\n')
        end += len(own)
      file.flush()
      os.fsync(file.fileno())
    with (path / PROMPTS).open('a', encoding='utf-8') as file:
      file.write(''.join(lines))
  except OSError as error:
    raise UserError(
      f'cannot write to {path}: {error.strerror}; make room and start again'
    ) from error


def _made_of(model: ReleasedText) -> dict[str, Any]:
  config = json.loads(json.dumps(dataclasses.asdict(model.connectors)))
  return {'max_tokens': model.max_tokens, 'dtype': model.dtype, 'connectors': config}


def _opened(folder: str, config: ConnectorsConfig, dtype: str) -> np.ndarray:
  """The table [N, K], on disk."""
  width, path = sum(config.projections.values()), Path(folder) / TABLE
  try:
    return np.memmap(path, jnp.dtype(dtype), 'r', shape=(_length(_places(folder)), width))
  except (OSError, ValueError) as error:
    raise cannot_read(path, error) from error


def _length(places: Mapping[str, tuple[int, int]]) -> int:
  return max((start + count for start, count in places.values()), default=0)


@functools.cache
def _places(folder: str) -> dict[str, tuple[int, int]]:
  return _read_places(Path(folder))


def _read_places(folder: Path) -> dict[str, tuple[int, int]]:
  """Prompt → (first row, how many)."""
  path, found = folder / PROMPTS, {}
  if not path.is_file():
    return {}
  try:
    for line in path.read_text(encoding='utf-8').splitlines():
      one = json.loads(line)
      found[one['prompt']] = (one['start'], one['count'])
  except (ValueError, KeyError) as error:
    raise cannot_read(path, error) from error
  return found


@functools.cache
def _graph(config: ConnectorsConfig) -> nnx.GraphDef:
  with sharding.no_mesh():
    return nnx.graphdef(nnx.eval_shape(lambda: Mixers(config, rngs=nnx.Rngs(0))))
