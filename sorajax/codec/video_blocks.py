"""The layers of a convolutional video autoencoder, and how frames reach them.

Channels that a change of size folds are ordered (channel, frame, row, column).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sorajax import sharding
from sorajax.codec.video_config import HalfConfig, Kernel, Kernels, Shift, Stride
from sorajax.nn import layers, param
from sorajax.nn.conv import Padding, conv

Carried = list[jax.Array | None]
Order = np.ndarray


class Frames:
  """The past that each layer needs, handed out in the order in which layers ask.

  A clip may come whole or in chunks. Layers keep here what the next chunk needs: convolutions the
  frames that their window reaches back to, residual paths the frames that their convolutions have
  not answered yet. So chunks give exactly what the whole gives, and nothing is computed twice.
  Before a clip's first frame and after its last, those frames stand still.

  A causal window ends at its own frame. One that is not centres on it, so its answer comes later
  by half a window; the last chunk brings the rest.

  Attributes:
    last: whether no chunk follows.
    split: the mesh axes over which pictures are this device's share of the rows.
    left: what the next chunk of the clip needs.
  """

  def __init__(
    self, causal: bool, carried: Carried | None = None, last: bool = True,
    split: sharding.Axes = (),
  ):  # fmt: skip
    self.last, self.split = last, split
    self.left: Carried = []
    self._causal, self._carried = causal, carried

  def window(self, x: jax.Array, size: int) -> tuple[jax.Array, int]:
    """x [B, F, …] with the frames around it that a valid convolution of `size` frames reads.

    Returns:
      It, and how many frames at its beginning equal the one after them.
    """
    if size == 1:
      return x, 0
    after = 0 if self._causal else (size - 1) // 2
    past, still = self._take(), 0
    if past is None and x.shape[1]:
      still = size - 1 - after
      past = jnp.repeat(x[:, :1], still, axis=1)
    whole = x if past is None else jnp.concatenate([past, x], axis=1)
    if self.last and after and whole.shape[1]:
      whole = jnp.concatenate([whole, jnp.repeat(whole[:, -1:], after, axis=1)], axis=1)
    self.left.append(whole[:, -(size - 1) :] if whole.shape[1] else None)
    return whole, still

  def await_windows(self, x: jax.Array, count: int) -> jax.Array:
    """The frames of x whose windows, `count` frames on either side, are complete."""
    if self._causal:
      return x
    return self._hold(x, lambda frames: max(frames - count, 0))

  def groups(self, x: jax.Array, size: int) -> jax.Array:
    """The frames of x that fill groups of `size`."""
    return x if size == 1 else self._hold(x, lambda frames: frames - frames % size)

  def begin(self, x: jax.Array) -> bool:
    """Whether x [B, F, …] holds the first frame that this layer sees."""
    begun = self._take() is not None
    seen = begun or x.shape[1] > 0
    self.left.append(jnp.zeros((len(x), 0)) if seen else None)
    return seen and not begun

  def _hold(self, x, ready):
    past = self._take()
    whole = x if past is None else jnp.concatenate([past, x], axis=1)
    count = whole.shape[1] if self.last else ready(whole.shape[1])
    self.left.append(whole[:, count:])
    return whole[:, :count]

  def _take(self) -> jax.Array | None:
    return None if self._carried is None else self._carried[len(self.left)]


class Conv(nnx.Module):
  """A convolution over space and time with bias: [B, F, H, W, C] → [B, F, H, W, C']."""

  def __init__(
    self, inputs: int, outputs: int, kernel: Kernel, padding: Padding, *, scale=1.0, rngs: nnx.Rngs
  ):
    shape = (*kernel, inputs, outputs)
    axis = 'embed' if sharding.divides(inputs, 'embed') else None
    deviation = scale * (math.prod(kernel) * inputs) ** -0.5
    self.kernel = param.normal(rngs, shape, (None, None, None, axis, None), scale=deviation)
    self.bias = param.zeros((outputs,), (None,))
    self.padding = padding

  def __call__(self, x: jax.Array, frames: Frames, order: Order | None = None) -> jax.Array:
    """The answers; `order` tells which of its channels each of x is, where that is not itself."""
    kernel = sharding.reshard(self.kernel[...], *(None,) * 5)
    kernel = kernel if order is None else kernel[..., order, :]
    x, still = frames.window(x, len(kernel))
    y = conv(x, kernel, self.padding, still=still, split=frames.split)
    return y + self.bias[...].astype(y.dtype)


def pixel_norm(x: jax.Array) -> jax.Array:
  """Each position's channels ÷ their root mean square."""
  return layers.rms_norm(x, eps=1e-8)


class Block(nnx.Module):
  """x + conv(silu(norm(conv(silu(norm(x)))))), as in LTX-2's autoencoder."""

  def __init__(self, inputs: int, outputs: int, half: HalfConfig, *, rngs: nnx.Rngs):
    padding, kernels = half.padding, half.kernels
    assert isinstance(kernels, Kernels)
    self.first = Conv(inputs, outputs, kernels.first, padding, rngs=rngs)
    self.second = Conv(outputs, outputs, kernels.second, padding, scale=0.1, rngs=rngs)
    self.frames = kernels.block(0)
    changes = inputs != outputs
    self.norm = param.ones((inputs,), (None,)) if changes else None
    self.norm_bias = param.zeros((inputs,), (None,)) if changes else None
    self.shortcut = Conv(inputs, outputs, (1, 1, 1), padding, rngs=rngs) if changes else None

  def __call__(self, x: jax.Array, frames: Frames) -> jax.Array:
    y = self.first(jax.nn.silu(pixel_norm(x)), frames)
    y = self.second(jax.nn.silu(pixel_norm(y)), frames)
    x = frames.await_windows(x, self.frames)
    if self.norm is not None and self.norm_bias is not None and self.shortcut is not None:
      scale, shift = self.norm[...].astype(x.dtype), self.norm_bias[...].astype(x.dtype)
      x = self.shortcut(layers.layer_norm(x) * scale + shift, frames)
    return x + y


class Norm(nnx.Module):
  """A layer norm with a scale and a shift of its own."""

  def __init__(self, width: int):
    self.norm, self.norm_bias = param.ones((width,), (None,)), param.zeros((width,), (None,))

  def __call__(self, x: jax.Array) -> jax.Array:
    scale, bias = self.norm[...].astype(x.dtype), self.norm_bias[...].astype(x.dtype)
    return layers.layer_norm(x) * scale + bias


class ShiftBlock(nnx.Module):
  """x + map(silu(map(norm(x, some channels moved by one position)))).

  Of every 8 channels one comes from each of the four neighbours in the picture (Wu et al. 2018) and
  two from the frame before (Lin et al. 2019): neighbours cost no products.
  """

  def __init__(self, width: int, half: HalfConfig, *, rngs: nnx.Rngs):
    assert isinstance(half.kernels, Shift)
    point, hidden = (half.kernels.change, half.padding), half.kernels.times * width
    self.norm = Norm(width)
    self.up = Conv(width, hidden, *point, rngs=rngs)
    self.down = Conv(hidden, width, *point, scale=0.3, rngs=rngs)

  def __call__(self, x: jax.Array, frames: Frames) -> jax.Array:
    y = self.up(self.norm(shifted(x, frames)), frames)
    return x + self.down(jax.nn.silu(y), frames)


def shifted(x: jax.Array, frames: Frames) -> jax.Array:
  """x [B, F, H, W, C], an eighth of its channels moved down, up, right, left, a quarter in time.

  What comes from beyond the picture is 0; before the first frame, it stands still.
  """
  e = x.shape[-1] // 8
  down, up, right, left = (x[..., i * e : (i + 1) * e] for i in range(4))
  above, below = jnp.zeros_like(down[:, :, :1]), jnp.zeros_like(up[:, :, :1])
  if frames.split:
    above = sharding.neighbours(down, 1, frames.split)[0]
    below = sharding.neighbours(up, 1, frames.split)[1]
  beside = jnp.zeros_like(right[:, :, :, :1])
  return jnp.concatenate(
    [
      jnp.concatenate([above, down[:, :, :-1]], axis=2),
      jnp.concatenate([up[:, :, 1:], below], axis=2),
      jnp.concatenate([beside, right[:, :, :, :-1]], axis=3),
      jnp.concatenate([left[:, :, :, 1:], beside], axis=3),
      frames.window(x[..., 4 * e : 6 * e], 2)[0][:, :-1],
      x[..., 6 * e :],
    ],
    axis=-1,
  )


class DownMap(nnx.Module):
  """Divides the size by `stride` through a linear map of whole groups."""

  def __init__(self, inputs: int, outputs: int, stride: Stride, half: HalfConfig, *, rngs):
    values = inputs * math.prod(stride)
    self.conv = Conv(values, outputs, (1, 1, 1), half.padding, rngs=rngs)
    self.stride = stride

  def __call__(self, x: jax.Array, frames: Frames) -> jax.Array:
    t = self.stride[0]
    return self.conv(fold(frames.groups(led(x, t, frames), t), self.stride), frames)


class Down(nnx.Module):
  """Divides the size by `stride` through a convolution."""

  def __init__(
    self, inputs: int, outputs: int, stride: Stride, residual: bool, half: HalfConfig, *, rngs
  ):
    change = half.kernels.change
    self.conv = Conv(inputs, outputs // math.prod(stride), change, half.padding, rngs=rngs)
    self.stride, self.outputs, self.residual = stride, outputs, residual
    self.frames = change[0] // 2

  def __call__(self, x: jax.Array, frames: Frames) -> jax.Array:
    t = self.stride[0]
    x = led(x, t, frames)
    y = fold(frames.groups(self.conv(x, frames), t), self.stride)
    if not self.residual:
      return y
    x = frames.groups(frames.await_windows(x, self.frames), t)
    return y + folded_means(x, self.stride, self.outputs)


def led(x: jax.Array, t: int, frames: Frames) -> jax.Array:
  """x, in which the first frame stands for a whole group of t."""
  if t == 1 or not frames.begin(x):
    return x
  return jnp.concatenate([jnp.repeat(x[:, :1], t - 1, axis=1), x], axis=1)


class Up(nnx.Module):
  """Multiplies the size by `stride`; the first frame becomes a single one."""

  def __init__(
    self, inputs: int, outputs: int, stride: Stride, residual: bool, half: HalfConfig, *, rngs
  ):
    change = half.kernels.change
    self.conv = Conv(inputs, outputs * math.prod(stride), change, half.padding, rngs=rngs)
    self.stride, self.frames = stride, change[0] // 2
    self.residual = residual and not half.shifts

  def __call__(self, x: jax.Array, frames: Frames) -> jax.Array:
    y = unfold(self.conv(x, frames), self.stride)
    if self.residual:
      x = unfold(frames.await_windows(x, self.frames), self.stride)
      y = y + jnp.concatenate([x] * (y.shape[4] // x.shape[4]), axis=-1)
    t = self.stride[0]
    return y[:, t - 1 :] if t > 1 and frames.begin(y) else y


def fold(x: jax.Array, stride: Stride) -> jax.Array:
  """[B, F·t, H·y, W·x, C] → [B, F, H, W, C·t·y·x]."""
  B, F, H, W, C = x.shape
  t, r, c = stride
  x = sharding.reshape(x, (B, F // t, t, H // r, r, W // c, c, C))
  x = x.transpose(0, 1, 3, 5, 7, 2, 4, 6)
  return sharding.reshape(x, (B, F // t, H // r, W // c, C * t * r * c))


def folded_means(x: jax.Array, stride: Stride, outputs: int) -> jax.Array:
  """`fold`, and of its channels the means of as many neighbours as leave `outputs`.

  Neighbours are columns, rows or frames of a group, whose mean is taken where they lie; so less is
  moved.
  """
  B, F, H, W, C = x.shape
  t, r, c = stride
  many = C * t * r * c // outputs
  inside = {t * r * c: (2, 4, 6), r * c: (4, 6), c: (6,), 1: ()}
  if many not in inside:
    x = fold(x, stride)
    return sharding.reshape(x, (*x.shape[:4], outputs, many)).mean(axis=-1)
  x = sharding.reshape(x, (B, F // t, t, H // r, r, W // c, c, C))
  x = x.mean(axis=inside[many], keepdims=True).transpose(0, 1, 3, 5, 7, 2, 4, 6)
  return sharding.reshape(x, (B, F // t, H // r, W // c, outputs))


def patches(x: jax.Array, side: int) -> tuple[jax.Array, Order]:
  """`fold` by (1, side, side) with channels as they lie in memory: a patch is moved row by row.

  Returns:
    [B, F, H, W, side²·C], and which of the channels that `fold` gives each of them is.
  """
  B, F, H, W, C = x.shape
  x = sharding.reshape(x, (B, F, H // side, side, W // side, side * C)).transpose(0, 1, 2, 4, 3, 5)
  folded = np.arange(C * side**2).reshape(C, side, side)
  x = sharding.reshape(x, (B, F, H // side, W // side, side**2 * C))
  return x, folded.transpose(1, 2, 0).reshape(-1)


def unfold(x: jax.Array, stride: Stride) -> jax.Array:
  """The inverse of `fold`."""
  B, F, H, W, C = x.shape
  t, r, c = stride
  x = sharding.reshape(x, (B, F, H, W, C // (t * r * c), t, r, c))
  x = x.transpose(0, 1, 5, 2, 6, 3, 7, 4)
  return sharding.reshape(x, (B, F * t, H * r, W * c, C // (t * r * c)))
