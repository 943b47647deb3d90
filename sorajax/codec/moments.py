"""The Gaussian that an encoder gives for each latent (Kingma & Welling 2014)."""

import jax
import jax.numpy as jnp

from sorajax import sharding

LOGVAR = (-30.0, 20.0)  # what exp can take in float32


def split(moments: jax.Array) -> tuple[jax.Array, jax.Array]:
  """[…, 2C] → (mean, logarithm of the variance), float32 […, C] each."""
  mean, logvar = jnp.split(moments.astype(jnp.float32), 2, axis=-1)
  return mean, jnp.clip(logvar, *LOGVAR)


def draw(key: jax.Array, mean: jax.Array, logvar: jax.Array) -> jax.Array:
  """A sample, differentiable in both moments."""
  noise = jax.random.normal(key, mean.shape, mean.dtype, out_sharding=sharding.layout(mean))
  return mean + jnp.exp(0.5 * logvar) * noise


def kl(mean: jax.Array, logvar: jax.Array) -> jax.Array:
  """The divergence from N(0, 1) in nats, for each value."""
  return 0.5 * (mean * mean + jnp.exp(logvar) - 1 - logvar)
