"""Convolutions over any number of axes, and their transposes along time."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sorajax.codec.past import Past
from sorajax.nn import param

LAYOUT = {1: ('NWC', 'WIO', 'NWC'), 2: ('NHWC', 'HWIO', 'NHWC')}


class Conv(nnx.Module):
  """[B, …, in] → [B, …, out], a convolution over the axes between, without padding.

  With `groups`, as many parts of the channels are each convolved by themselves.
  """

  def __init__(
    self, inputs: int, outputs: int, size: tuple[int, ...], *, stride: int = 1, dilation: int = 1,
    groups: int = 1, bias: bool = True, rngs: nnx.Rngs,
  ):  # fmt: skip
    axes = (None,) * (len(size) + 2)
    shape = (*size, inputs // groups, outputs)
    self.kernel = param.normal(rngs, shape, axes, scale=math.prod(shape[:-1]) ** -0.5)
    self.bias = param.zeros((outputs,), (None,)) if bias else None
    self.stride, self.dilation, self.groups = stride, dilation, groups

  def __call__(self, x: jax.Array) -> jax.Array:
    dims = x.ndim - 2
    y = jax.lax.conv_general_dilated(
      x, self.kernel[...].astype(x.dtype), (self.stride,) * dims, 'VALID',
      rhs_dilation=(self.dilation,) * dims, dimension_numbers=LAYOUT[dims],
      feature_group_count=self.groups,
    )  # fmt: skip
    return y if self.bias is None else y + self.bias[...].astype(y.dtype)


def same(conv: Conv, x: jax.Array) -> jax.Array:
  """[B, T, in] → [B, T, out] of a convolution of odd size: zeros lie on either side."""
  side = (conv.kernel.shape[0] - 1) // 2 * conv.dilation
  return conv(jnp.pad(x, ((0, 0), (side, side), (0, 0))))


class CausalConv1d(nnx.Module):
  """[B, T, in] → [B, T, out]; frame t reads frames t − size + 1 … t."""

  def __init__(self, inputs: int, outputs: int, size: int, *, bias: bool = True, rngs: nnx.Rngs):
    self.conv, self.size = Conv(inputs, outputs, (size,), bias=bias, rngs=rngs), size

  def __call__(self, x: jax.Array, past: Past) -> jax.Array:
    return self.conv(past.take(x, self.size - 1, axis=1))


class Upsampler(nnx.Module):
  """[B, T, in] → [B, T·factor, out], the centred transposed convolution."""

  def __init__(self, inputs: int, outputs: int, size: int, factor: int, *, rngs: nnx.Rngs):
    scale = (inputs * size / factor) ** -0.5
    self.kernel = param.normal(rngs, (size, inputs, outputs), (None,) * 3, scale=scale)
    self.bias = param.zeros((outputs,), (None,))
    self.factor = factor

  def __call__(self, x: jax.Array) -> jax.Array:
    kernel = self.kernel[...].astype(x.dtype)
    size, inputs, outputs = kernel.shape
    left = centre(size, self.factor)
    x = jnp.pad(x, ((0, 0), reach(size, self.factor, left), (0, 0)))
    kernel = phases(kernel, self.factor, left).transpose(0, 2, 1, 3)  # [window, in, factor, out]
    kernel = kernel.reshape(-1, inputs, self.factor * outputs)
    y = jax.lax.conv_general_dilated(x, kernel, (1,), 'VALID', dimension_numbers=LAYOUT[1])
    y = y.reshape(*y.shape[:2], self.factor, outputs)  # one axis at a time, so that shards stay
    return y.reshape(len(y), -1, outputs) + self.bias[...].astype(y.dtype)


def centre(size: int, factor: int) -> int:
  """The tap of a centred transposed convolution that meets a frame's own first output frame."""
  return (size - factor) // 2


def reach(size: int, factor: int, left: int) -> tuple[int, int]:
  """How many frames before and after its own an output frame of `phases` reads."""
  return (size - 1 - left) // factor, (factor - 1 + left) // factor


def phases(kernel: jax.Array, factor: int, left: int) -> jax.Array:
  """The taps [size, …] of a transposed convolution as windows [window, factor, …].

  Output frame factor·q + p is the sum over s of input frame q + s times tap p + left − factor·s
  (Crochiere & Rabiner 1983): so no multiplication by the zeros between the input's frames.
  """
  size = len(kernel)
  before, after = reach(size, factor, left)
  shift, phase = np.arange(-before, after + 1)[:, None], np.arange(factor)
  tap = phase + left - factor * shift
  held = (tap >= 0) & (tap < size)
  taken = kernel[np.clip(tap, 0, size - 1)]
  return jnp.where(held.reshape(held.shape + (1,) * (kernel.ndim - 1)), taken, 0)
