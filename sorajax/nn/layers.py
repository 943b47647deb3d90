"""Linear maps, norms and the noise-level embedding."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sorajax import sharding
from sorajax.nn import param

ACTIVATION = ('batch', 'tokens')


class Linear(nnx.Module):
  """y = x·W + b over the last axis: [B, T, in] → [B, T, out]."""

  def __init__(self, inputs: int, outputs: int, *, axes=(None, None), bias=True, scale=1.0, rngs):
    self.kernel = param.normal(rngs, (inputs, outputs), axes, scale=scale * inputs**-0.5)
    self.out_axis = 'mlp' if axes[1] == 'mlp' else None  # activations are whole along `embed`
    self.bias = param.zeros((outputs,), (self.out_axis,)) if bias else None

  def __call__(self, x: jax.Array, axes: tuple[str, str | None] = ACTIVATION) -> jax.Array:
    y = param.einsum('bti,io->bto', x, self.kernel, *axes, self.out_axis)
    return y if self.bias is None else y + param.spread(self.bias[...].astype(y.dtype), y)


class Mlp(nnx.Module):
  """Linear → tanh-GELU → Linear: [B, T, D] → [B, T, D]."""

  def __init__(self, width: int, hidden: int, *, bias=True, rngs):
    self.up = Linear(width, hidden, axes=('embed', 'mlp'), bias=bias, rngs=rngs)
    self.down = Linear(hidden, width, axes=('mlp', 'embed'), bias=bias, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.down(jax.nn.gelu(self.up(x), approximate=True))


def rms_norm(x: jax.Array, axis=-1, eps: float = 1e-6) -> jax.Array:
  """x ÷ √(mean x²) in float32, back in the type of x (Zhang & Sennrich 2019)."""
  y = x.astype(jnp.float32)
  return (y * jax.lax.rsqrt(jnp.mean(y * y, axis=axis, keepdims=True) + eps)).astype(x.dtype)


def layer_norm(x: jax.Array, eps: float = 1e-6) -> jax.Array:
  """(x − mean) ÷ std over the last axis in float32, back in the type of x (Ba et al. 2016)."""
  y = x.astype(jnp.float32)
  y = y - y.mean(axis=-1, keepdims=True)
  return (y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + eps)).astype(x.dtype)


def look_up(table: jax.Array, index: jax.Array, mode: str = 'fill') -> jax.Array:
  """Rows of a table [N, D] that is whole everywhere, at index [B, L] → [B, L, D], laid as index is.

  Beyond the table, `fill` gives NaN and `clip` the nearest row.
  """
  layout = sharding.layout(index)
  layout = layout and layout.update(spec=jax.P(*layout.spec, None))
  return table.at[index].get(mode=mode, out_sharding=layout)


def modulate(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
  """x·(1 + scale) + shift."""
  return x * (1 + param.spread(scale, x)) + param.spread(shift, x)


def sinusoid(value: jax.Array, width: int, longest: float = 10_000.0) -> jax.Array:
  """[…] → float32 […, width]: cosines, then sines, of geometric frequencies (Ho et al. 2020)."""
  half = width // 2
  frequency = np.exp(-np.log(longest) * np.arange(half, dtype=np.float64) / half)
  angle = value[..., None].astype(jnp.float32) * frequency.astype(np.float32)
  return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


class LevelModulation(nnx.Module):
  """Noise level → rows of AdaLN-single (Chen et al. 2023, PixArt-α, section 2.3).

  The embedding is `sigma · scale` as 256 sinusoids through Linear-SiLU-Linear; the rows are a
  linear map of its SiLU, shared by all layers, to which each layer adds a table of its own.
  """

  def __init__(self, width: int, rows: int, *, rngs: nnx.Rngs):
    self.up = Linear(256, width, axes=(None, 'embed'), rngs=rngs)
    self.out = Linear(width, width, axes=(None, 'embed'), rngs=rngs)
    self.rows = Linear(width, rows * width, axes=('embed', None), scale=0.0, rngs=rngs)

  def __call__(
    self, sigma: jax.Array, dtype, scale=1000.0, axes: tuple[str, str | None] = ACTIVATION
  ) -> tuple[jax.Array, jax.Array]:
    """sigma [B, T], laid along `axes` → (rows [B, T, rows·D], embedding [B, T, D]), in `dtype`."""
    wave = sinusoid(sigma * scale, 256).astype(dtype)
    embedding = self.out(jax.nn.silu(self.up(wave, axes)), axes)
    return self.rows(jax.nn.silu(embedding), axes), embedding


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ByLevel:
  """What depends on nothing but noise levels, of which a row of tokens has few.

  Attributes:
    value: [B, N, R·D] of each of a row's levels; [B, T, R·D] of each token where `index` is None.
    index: int32 [B, T]; which of the N levels a token has.
  """

  value: jax.Array
  index: jax.Array | None

  def split(self, table: jax.Array) -> list[jax.Array]:
    """R arrays [B, T, D], each with its row of a table [R, D] added; [B, 1, D] for one level."""
    pieces = jnp.split(self.value, len(table), axis=-1)
    return [self._of_tokens(p + row.astype(p.dtype)) for p, row in zip(pieces, table)]

  def _of_tokens(self, x: jax.Array) -> jax.Array:
    """[B, N, D] → [B, T, D]: choices that fuse with what follows, so that nothing is stored."""
    if self.index is None or x.shape[1] == 1:
      return x
    index = jnp.broadcast_to(self.index[..., None], (*self.index.shape, x.shape[2]))
    rows = [param.spread(x[:, n : n + 1], index) for n in range(x.shape[1])]
    out = rows[0]
    for n, row in enumerate(rows[1:], 1):
      out = jnp.where(index == n, row, out)
    return out


def in_order(modules: Iterable[nnx.Module]) -> nnx.Dict:
  """Modules by their number, in words, as which every checkpoint keeps it."""
  return nnx.Dict({str(i): module for i, module in enumerate(modules)})


def each(modules: nnx.Dict) -> Iterator[Any]:
  """The modules of `in_order`, in order."""
  return (modules[str(i)] for i in range(len(modules)))
