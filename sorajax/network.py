"""Transformer and text encoder as one function of (parameters, tokens, text): the velocity."""

import dataclasses
import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sorajax import sharding
from sorajax.clip import Text, Tokens
from sorajax.codec import plain
from sorajax.flow import path
from sorajax.model import lora
from sorajax.model.config import TransformerConfig
from sorajax.model.lora import LoraConfig
from sorajax.model.transformer import Transformer

Params = dict[str, Any]


class TextEncoder(Protocol):
  """What every text encoder offers.

  Attributes:
    width: D of its output.
    max_tokens: of a prompt.
    trainable: whether its parameters are trained along.
  """

  @property
  def width(self) -> int: ...
  @property
  def max_tokens(self) -> int: ...
  @property
  def trainable(self) -> bool: ...
  def tokenize(self, prompt: str) -> np.ndarray: ...
  def initial_params(self, key: jax.Array) -> Params: ...
  def encode(self, params: Params, text: Text) -> jax.Array: ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReadText:
  """Captions after the text encoder; the same at every step of sampling.

  Attributes:
    hidden: [B, L, text_width].
    segment: int32 [B, L].
    shot: int32 [B, L].
  """

  hidden: jax.Array
  segment: jax.Array
  shot: jax.Array


@dataclasses.dataclass(frozen=True)
class Network:
  """The function that is trained and sampled.

  Attributes:
    transformer: its size.
    text: the text encoder.
    spread: modality → standard deviation of each channel of its latents. Where it is known, the
      transformer sees unit variance and learns what the best linear guess of v misses
      (`flow.path.linear_guess`), so that training begins where statistics end. Where it is empty,
      it reads latents as they are and predicts v, as the released LTX-2 models do.
    lora: changes of the transformer's matrices that are trained in place of all weights.
  """

  transformer: TransformerConfig
  text: TextEncoder
  spread: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
  lora: LoraConfig = dataclasses.field(default_factory=LoraConfig)

  def __hash__(self) -> int:
    return hash(repr(self))  # a dict has no hash of its own

  def init(self, key: jax.Array) -> Params:
    """Trainable parameters, as plain dicts."""
    if self.lora.rank:
      return {'lora': lora.init(self.lora, plain.shapes(Transformer, self.transformer), key)}
    key_transformer, key_text = jax.random.split(key)
    module = Transformer(self.transformer, rngs=nnx.Rngs(key_transformer))
    params = {'transformer': nnx.to_pure_dict(nnx.state(module, nnx.Param))}
    if self.text.trainable:
      params['text'] = self.text.initial_params(key_text)
    return params

  def merged(self, params: Params) -> Params:
    """The same parameters with the transformer's changes, if it has any, added to its matrices."""
    if 'lora' not in params:
      return params
    rest = {name: part for name, part in params.items() if name != 'lora'}
    whole = lora.merged(params['transformer'], params['lora'], self.lora.scale)
    return {**rest, 'transformer': whole}

  def frozen(self) -> Params:
    """Parameters that are used and not trained, and that no run holds."""
    return {} if self.text.trainable else {'text': self.text.initial_params(jax.random.key(0))}

  def read(self, params: Params, text: Text) -> ReadText:
    """Encodes captions."""
    return ReadText(self.text.encode(params['text'], text), text.segment, text.shot)

  def velocity(
    self, params: Params, tokens: dict[str, Tokens], text: ReadText, *, joined: bool = True,
    skip_layers: tuple[int, ...] = (),
  ) -> dict[str, jax.Array]:  # fmt: skip
    """v of every token, modality → float32 [B, T, C].

    Args:
      params: trainable and frozen ones in one dict.
      tokens: at their noise levels.
      text: as `read` gave it.
      joined: whether audio and video hear each other.
      skip_layers: those whose self-attention is skipped.
    """
    weights = params['transformer']
    if 'lora' in params:
      weights = lora.beside(weights, params['lora'], self.lora.scale)
    module = nnx.merge(_graphdef(self.transformer), weights)
    read = (text.hidden, text.segment, text.shot)
    run = lambda tokens: module(tokens, *read, joined=joined, skip_layers=skip_layers)
    if not self.spread:
      return run(tokens)
    guess = {
      m: path.linear_guess(t.sigma, jnp.asarray(self.spread[m], jnp.float32))
      for m, t in tokens.items()
    }
    out = run({m: t.replace(latent=guess[m][0] * t.latent) for m, t in tokens.items()})
    return {m: guess[m][1] * t.latent + guess[m][2] * out[m] for m, t in tokens.items()}


@functools.cache
def _graphdef(config: TransformerConfig) -> nnx.GraphDef:
  with sharding.no_mesh():
    return nnx.graphdef(nnx.eval_shape(lambda: Transformer(config, rngs=nnx.Rngs(0))))
