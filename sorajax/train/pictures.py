"""Training a picture autoencoder: pixels that come back as they went in."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from sorajax import build, sharding
from sorajax.codec import codec as codec_lib
from sorajax.codec import loss as losses
from sorajax.codec import moments, video
from sorajax.codec.codec import Codec
from sorajax.codec.convolutional import ConvCodec, measured
from sorajax.codec.patches import PatchCodec
from sorajax.codec.video_config import VideoConfig
from sorajax.errors import UserError
from sorajax.settings import CodecSettings
from sorajax.train.reconstruction import Reconstruction

TERMS = ('absolute', 'squared', 'pyramid', 'edges', 'spectrum', 'flicker', 'moving')


@dataclasses.dataclass(frozen=True)
class PictureObjective(Reconstruction):
  """What `loss` weighs together, on the pictures of clips."""

  modality: ClassVar[str] = 'video'
  settings: CodecSettings

  @property
  def config(self) -> VideoConfig:
    """Of the autoencoder."""
    return build.autoencoder(self.settings.picture)

  @functools.cached_property
  def linear(self) -> Codec:
    """Fitted on training clips, its pictures in the learned geometry."""
    own = self.settings.picture
    config = self.settings.codec
    if own.straight:
      config = dataclasses.replace(config, stride=own.stride, video_channels=own.channels)
    return self.fitted(config)

  @functools.cached_property
  def kept(self) -> ConvCodec | None:
    """The codec whose latents a decoder is learned for; None where both halves are learned.

    Raises:
      UserError: its encoder is of another size than the config's.
    """
    name = self.settings.encoder_of
    if not name:
      return None
    half = codec_lib.load(name).video
    inward = lambda c: dataclasses.replace(c, decoder=c.encoder)
    if not isinstance(half, ConvCodec) or inward(half.config) != inward(self.config):
      raise UserError(
        f'config.encoder_of={name} holds another picture encoder than config.picture describes; '
        'give its size, or name one of this'
      )
    return half

  def init(self, key: jax.Array) -> Any:
    params = self._first(key)
    return params if self.kept is None else {'decoder': params['decoder']}

  def frozen(self) -> Any:
    return {} if self.kept is None else {'encoder': self.kept.params['encoder']}

  def _first(self, key: jax.Array) -> video.Params:
    started = self.started(self.config)
    if started is not None:
      return jax.tree.map(jnp.asarray, started)
    params = video.init(self.config, key)
    if not self.config.straight or self.kept is not None:
      return params
    patches = self.linear.video
    assert isinstance(patches, PatchCodec)
    return video.from_linear(params, self.config, patches)

  def loss(self, params, frozen, batch: Any, key, counts):
    params, pixels = {**params, **frozen}, batch['video'].astype(jnp.float32) / 127.5 - 1
    mean, logvar = video.encode(self.config, params, pixels)
    logvar = logvar.clip(*moments.LOGVAR)
    draw, level, noise = jax.random.split(key, 3)
    latents = moments.draw(draw, mean, logvar)
    levels = jax.random.uniform(level, (len(latents), 1, 1, 1, 1)) * self.settings.loss.noise
    made = video.decode(self.config, params, noised(noise, latents, levels))
    terms = {name: getattr(losses, name)(made, pixels) for name in TERMS}
    terms['divergence'] = losses.divergence(mean, logvar)
    terms['roughness'] = losses.roughness(mean)
    return self.weighed(terms, counts)

  def errors(self, params: Any, frozen: Any, batch: Any) -> dict[str, jax.Array]:
    """`psnr_db` of what becomes of the mean latents, over the clips."""
    params, pixels = {**params, **frozen}, batch['video'].astype(jnp.float32)
    mean, _ = video.encode(self.config, params, pixels / 127.5 - 1)
    made = video.decode(self.config, params, mean)
    made = jnp.round(jnp.clip((made + 1) * 127.5, 0, 255))
    error = jnp.square(made - pixels).mean(axis=(1, 2, 3, 4))
    return {'psnr_db': (10 * jnp.log10(255.0**2 / jnp.maximum(error, 1e-9))).mean()}

  def codec(self, weights: Any) -> Codec:
    """The learned picture half, and a linear sound.

    Latents are normalised over training clips, or as they were where they are kept.
    """
    if self.kept is not None:
      params = {**weights, **self.frozen()}
      return Codec(
        dataclasses.replace(self.kept, config=self.config, params=params), self.linear.audio
      )
    seen = (clip.video for clip in self.seen())
    picture = measured(self.config, weights, seen, self.settings.picture.chunk)
    return Codec(picture, self.linear.audio)


def noised(key: jax.Array, latents: jax.Array, levels: jax.Array) -> jax.Array:
  """Latents [B, f, h, w, C] and noise of `levels` of their own deviation over batch and place.

  Larger latents get more noise, so that they cannot outgrow it.
  """
  spread = jnp.sqrt(latents.var(axis=(0, 1, 2, 3)).mean())
  noise = jax.random.normal(key, latents.shape, out_sharding=sharding.layout(latents))
  return latents + levels * jax.lax.stop_gradient(spread) * noise
