"""How far a picture is from another, in the ways that an autoencoder is trained on.

All take float [B, F, H, W, 3] and give a mean over everything.
"""

import jax
import jax.numpy as jnp

from sorajax.codec import moments
from sorajax.sharding import reshape

SCALES = 3  # halvings of the size that are looked at
STILL = 0.02  # of pixels in [-1, 1]: what differs less from other times stands still


def absolute(a: jax.Array, b: jax.Array) -> jax.Array:
  """Mean absolute difference."""
  return jnp.abs(a - b).mean()


def squared(a: jax.Array, b: jax.Array) -> jax.Array:
  """Mean square difference, which PSNR is the logarithm of."""
  return jnp.square(a - b).mean()


def pyramid(a: jax.Array, b: jax.Array) -> jax.Array:
  """Absolute differences of the two halved again and again, so that large areas are right."""
  difference, total = a - b, jnp.zeros(())
  for _ in range(SCALES):
    difference = _halved(difference)
    total += jnp.abs(difference).mean()
  return total / SCALES


def edges(a: jax.Array, b: jax.Array) -> jax.Array:
  """Absolute differences of the gradients along both sides, so that edges stay sharp."""
  d = a - b
  across, down = d[:, :, :, 1:] - d[:, :, :, :-1], d[:, :, 1:] - d[:, :, :-1]
  return (jnp.abs(across).mean() + jnp.abs(down).mean()) / 2


def spectrum(a: jax.Array, b: jax.Array) -> jax.Array:
  """Absolute differences of the orthonormal 2-D Fourier coefficients of every frame."""
  difference = jnp.fft.rfft2(a - b, axes=(2, 3), norm='ortho')
  return jnp.sqrt(jnp.square(difference.real) + jnp.square(difference.imag) + 1e-12).mean()


def flicker(a: jax.Array, b: jax.Array) -> jax.Array:
  """Absolute differences of the change from frame to frame."""
  d = a - b
  return jnp.abs(d[:, 1:] - d[:, :-1]).mean() if d.shape[1] > 1 else jnp.zeros(())


def moving(a: jax.Array, b: jax.Array) -> jax.Array:
  """Absolute differences, weighed by how far b is there from what it is at other times.

  What moves covers few pixels and is what a clip is about.
  """
  weight = jnp.abs(b - b.mean(axis=1, keepdims=True)).mean(axis=4, keepdims=True) + STILL
  share = weight / weight.mean(axis=(1, 2, 3), keepdims=True)
  return (jax.lax.stop_gradient(share) * jnp.abs(a - b)).mean()


def divergence(mean: jax.Array, logvar: jax.Array) -> jax.Array:
  """Of the latents from N(0, 1), in nats a value."""
  return moments.kl(mean, logvar).mean()


def roughness(mean: jax.Array) -> jax.Array:
  """Mean square step between neighbours in time, for latents [B, f, h, w, C]."""
  return jnp.square(mean[:, 1:] - mean[:, :-1]).mean() if mean.shape[1] > 1 else jnp.zeros(())


def _halved(x: jax.Array) -> jax.Array:
  B, F, H, W, C = x.shape
  if min(H, W) < 2:
    return x
  x = x[:, :, : H // 2 * 2, : W // 2 * 2]
  return reshape(x, (B, F, H // 2, 2, W // 2, 2, C)).mean(axis=(3, 5))
