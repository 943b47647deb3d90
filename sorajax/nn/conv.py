"""Convolution over space and time, behind one function.

A convolution in three dimensions can be computed as it is, as one in two dimensions for each frame
of the kernel, or as one in two dimensions over frames laid side by side in the channels. All give
the same; which is fastest depends on the platform (`tools/measure_conv.py` times them).
"""

import jax
import jax.numpy as jnp

from sorajax import sharding

Form = str  # 'direct', 'shifted' or 'folded'
NARROW = 128  # input channels from which shifting the frames beats folding them, on CPU


def conv3d(x: jax.Array, kernel: jax.Array, *, edges: str = 'zeros', form: Form | None = None):
  """Convolves; time shrinks by kt − 1 frames (the caller puts the past in front), space stays.

  Args:
    x: [B, F, H, W, C].
    kernel: [kt, ky, kx, C, C'], ky and kx odd.
    edges: what lies beyond the picture: 'zeros', or 'reflect' for a mirror image.
    form: how to compute it; None chooses by platform and shape.

  Returns:
    [B, F − kt + 1, H, W, C'] in the type of x.
  """
  ky, kx = kernel.shape[1:3]
  kernel = sharding.reshard(kernel, *(None,) * 5).astype(x.dtype)
  sides = ((ky // 2, ky // 2), (kx // 2, kx // 2))
  if edges == 'reflect' and (ky, kx) != (1, 1):
    x = jnp.pad(x, ((0, 0), (0, 0), *sides, (0, 0)), mode='reflect')
    sides = ((0, 0), (0, 0))
  return FORMS[form or _best(kernel.shape)](x, kernel, sides)


def _direct(x, kernel, sides):
  return _convolve(x, kernel, ((0, 0), *sides), 'NDHWC', 'DHWIO')


def _shifted(x, kernel, sides):
  """The sum over the kernel's frames of convolutions of the shifted clip."""
  frames = x.shape[1] - len(kernel) + 1
  parts = [_frames(x[:, i : i + frames], k, sides) for i, k in enumerate(kernel)]
  return sum(parts[1:], parts[0])


def _folded(x, kernel, sides):
  """One convolution over kt·C channels."""
  kt, ky, kx, _, outputs = kernel.shape
  frames = x.shape[1] - kt + 1
  side_by_side = jnp.concatenate([x[:, i : i + frames] for i in range(kt)], axis=-1)
  return _frames(side_by_side, kernel.transpose(1, 2, 0, 3, 4).reshape(ky, kx, -1, outputs), sides)


FORMS = {'direct': _direct, 'shifted': _shifted, 'folded': _folded}


def _frames(x, kernel, sides):
  """A convolution of every frame alone: [B, F, H, W, C] → [B, F, H', W', C']."""
  if kernel.shape[:2] == (1, 1):
    return jnp.einsum('bfhwc,cd->bfhwd', x, kernel[0, 0])
  rows, frames = x.shape[:2]
  each = sharding.reshape_rows(x, rows * frames, *x.shape[2:])
  made = _convolve(each, kernel, sides, 'NHWC', 'HWIO')
  return sharding.reshape_rows(made, rows, frames, *made.shape[1:])


def _convolve(x, kernel, padding, layout, kernel_layout):
  numbers = jax.lax.conv_dimension_numbers(x.shape, kernel.shape, (layout, kernel_layout, layout))
  ones = (1,) * (x.ndim - 2)
  return jax.lax.conv_general_dilated(x, kernel, ones, padding, dimension_numbers=numbers)


def _best(kernel_shape: tuple[int, ...]) -> Form:
  if jax.default_backend() != 'cpu' or kernel_shape[0] == 1:
    return 'direct'
  return 'folded' if kernel_shape[3] < NARROW else 'shifted'
