"""Prompts as the released LTX-2 models read them: Gemma, then connectors, from a folder."""

import dataclasses
import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sorajax import sharding
from sorajax.clip import Text
from sorajax.errors import UserError
from sorajax.text import tokenizer
from sorajax.text.connectors import Connectors, ConnectorsConfig
from sorajax.weights import gemma, ltx2_connectors
from sorajax.weights.shards import Shards

Params = dict[str, Any]
PADDING = -1  # no id of a token


@dataclasses.dataclass(frozen=True)
class ReleasedText:
  """Prompts → the text of both streams. Holds no weights, so that workers can unpickle it cheaply.

  Attributes:
    folder: of a model as diffusers saves it, with `text_encoder`, `tokenizer` and `connectors`.
    max_tokens: what every prompt is padded to, and where it is cut.
    dtype: of weights and results.
    eight_bits: whether Gemma's matrices are rounded to 8 bits as they are read.
    trainable: False, the weights stay as they are.
  """

  folder: str
  max_tokens: int = 1024
  dtype: str = 'bfloat16'
  eight_bits: bool = False
  trainable: ClassVar[bool] = False

  def __post_init__(self) -> None:
    for m, stream in self.connectors.streams.items():
      if self.max_tokens % stream.registers:
        raise UserError(
          f'config.text.max_tokens is {self.max_tokens} and the {m} connector needs a multiple of '
          f'{stream.registers}'
        )

  @property
  def width(self) -> int:
    return self.connectors.text_width

  @property
  def connectors(self) -> ConnectorsConfig:
    return _configs(self.folder)[1]

  def tokenize(self, prompt: str) -> np.ndarray:
    """A prompt as int32 [max_tokens], padded at its end.

    Raises `UserError` where the tokenizer cannot be read, or without the extra `[ltx2]`.
    """
    ids = _tokenizer(self.folder).encode(prompt.strip()).ids[: self.max_tokens]
    return np.pad(np.array(ids, np.int32), (0, self.max_tokens - len(ids)), constant_values=PADDING)

  def initial_params(self, key: jax.Array | None = None) -> Params:
    """The weights of the folder, laid over the current mesh; `UserError` where they do not fit."""
    mesh = jax.sharding.get_mesh()
    reading, connecting = _configs(self.folder)
    where, dtype = Path(self.folder), jnp.dtype(self.dtype)
    shards = lambda part: Shards(where / part)
    return {
      'gemma': gemma.load(reading, shards('text_encoder'), mesh, dtype, self.eight_bits),
      'connectors': ltx2_connectors.load(connecting, shards('connectors'), mesh, dtype),
    }

  def encode(self, params: Params, text: Text) -> jax.Array:
    """What the streams read of prompts, [B, L, width]; each of them takes up `max_tokens` places.

    Raises `UserError` where L is no multiple of these.
    """

    def one(ids):
      connect = nnx.merge(_graphs(self.folder)['connectors'], params['connectors'])
      return connect.mix(self.project(params, ids), ids != PADDING)

    return one_by_one(one, text.ids, self.max_tokens)

  def project(self, params: Params, ids: jax.Array) -> dict[str, jax.Array]:
    """Prompts int32 [B, L] → [B, L, K] of every projection of the connectors, by its name."""
    ids = sharding.reshard(ids, 'batch', None)
    graphs, valid = _graphs(self.folder), ids != PADDING
    read, connect = (nnx.merge(graphs[name], params[name]) for name in ('gemma', 'connectors'))
    return connect.project(read(jnp.maximum(ids, 0), valid), valid)


def one_by_one(read: Callable[[jax.Array], jax.Array], ids: jax.Array, size: int) -> jax.Array:
  """Rows of prompts of `size` tokens each, int32 [B, L] → [B, L, …], no prompt attends to another.

  Raises:
    UserError: L is no multiple of a prompt's tokens.
  """
  length = ids.shape[1]
  if length % size:
    raise UserError(f'rows have {length} tokens of text and prompts {size}; give a multiple')
  ids = sharding.reshard(jnp.asarray(ids), 'batch', None)
  return jnp.concatenate([read(ids[:, i : i + size]) for i in range(0, length, size)], axis=1)


@functools.cache
def _configs(folder: str) -> tuple[gemma.AnyConfig, ConnectorsConfig]:
  where = Path(folder)
  for part in ('text_encoder', 'tokenizer', 'connectors'):
    if not (where / part).is_dir():
      raise UserError(f'{where} has no folder {part}; give one that diffusers saved LTX-2 in')
  reading = gemma.config_of(Shards(where / 'text_encoder').config())
  connecting = ltx2_connectors.config_of(Shards(where / 'connectors').config())
  if (reading.width, reading.layers + 1) != (connecting.width, connecting.states):
    raise UserError(
      f'the text encoder gives {reading.layers + 1} states of {reading.width} channels and the '
      f'connectors read {connecting.states} of {connecting.width}; they are of other releases'
    )
  return reading, connecting


@functools.cache
def _graphs(folder: str) -> dict[str, nnx.GraphDef]:
  reading, connecting = _configs(folder)
  with sharding.no_mesh():
    made = {
      'gemma': nnx.eval_shape(gemma.maker_of(reading)),
      'connectors': nnx.eval_shape(lambda: Connectors(connecting, rngs=nnx.Rngs(0))),
    }
  return {name: nnx.graphdef(module) for name, module in made.items()}


@functools.cache
def _tokenizer(folder: str) -> Any:
  """The folder's tokenizer, once a process; its own cut and padding are switched off."""
  try:
    library = importlib.import_module('tokenizers')
  except ImportError as error:
    raise UserError("reading prompts needs pip install 'sorajax[ltx2]'") from error
  return tokenizer.read(library, Path(folder) / 'tokenizer' / 'tokenizer.json')
