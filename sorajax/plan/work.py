"""What a program is run for: a step of training, a batch of clips, or decoding them."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Protocol

from sorajax import build, sharding
from sorajax.codec import codec
from sorajax.codec.convolutional import CHUNK, ConvCodec
from sorajax.codec.linear import linear_geometry
from sorajax.codec.video_config import VideoConfig, ltx2
from sorajax.data.schedule import Bucket
from sorajax.generate.request import Request, blank_latents
from sorajax.generate.sampling import Pass, bucket_of, evaluations, rows_over, shift_of
from sorajax.geometry import Geometry
from sorajax.plan.flops import Flops, decoding, forwards
from sorajax.settings import Settings

DAY_S = 86_400

Figures = Iterator[tuple[str, str]]


class Work(Protocol):
  """What a plan says of one run of its program.

  Attributes:
    settings: of the run.
    title: behind the mesh.
    run: what one run is called.
    ending: of the names of files.
    passing: what comes and goes in memory.
    clips: that are trained on or made, at most.
    turns: how often all layers run forwards, and backwards.
  """

  @property
  def settings(self) -> Settings: ...
  @property
  def title(self) -> str: ...
  @property
  def run(self) -> str: ...
  @property
  def ending(self) -> str: ...
  @property
  def passing(self) -> str: ...
  @property
  def clips(self) -> int: ...

  @property
  def turns(self) -> tuple[int, int]: ...
  def flops(self) -> Flops:
    """By formula, of all devices, with what is computed twice."""
    ...

  def useful(self) -> float:
    """The same without what is computed twice."""
    ...

  def figures(self, seconds: float) -> Figures:
    """Names and values of what else is to know where a run takes so long."""
    ...


def start_dtype(settings: Settings) -> str:
  """Of the weights that low-rank changes are learned of: LTX-2's as they were saved, or a run's."""
  return 'float32' if settings.flow.preconditioned else settings.transformer.compute


@dataclasses.dataclass(frozen=True)
class Step:
  """A step of training.

  Attributes:
    settings: of the run.
    bucket: of clips.
  """

  settings: Settings
  bucket: Bucket
  run = 'step'
  passing = 'activations, gradients'

  @property
  def title(self) -> str:
    return f'{self.bucket.rows} rows{self._of_several(" of {} and {} tokens")} a step'

  @property
  def ending(self) -> str:
    return self._of_several('-{}x{}')

  def _of_several(self, form: str) -> str:
    """What tells the bucket from others, where the config has several."""
    several = len(self.settings.data.in_order()) > 1
    return form.format(self.bucket.video, self.bucket.audio) if several else ''

  @property
  def clips(self) -> int:
    return self.bucket.rows * self.bucket.clips

  @property
  def turns(self) -> tuple[int, int]:
    return 1 if self.settings.transformer.remat == 'none' else 2, 1

  def flops(self) -> Flops:
    c = self.settings.transformer
    made = forwards(c, self.bucket).of_training(c.remat, bool(self.settings.lora.rank))
    return made.times(self.bucket.rows)

  def useful(self) -> float:
    made = forwards(self.settings.transformer, self.bucket)
    return made.of_training('none', bool(self.settings.lora.rank)).times(self.bucket.rows).total

  def figures(self, seconds: float) -> Figures:
    b, steps, prepare = self.bucket, DAY_S / seconds, self.settings.prepare
    tokens = b.rows * (b.video + b.audio) * steps
    yield 'tokens a day', f'{tokens / 1e9:,.1f} billion'
    hours = self.clips * steps * max(prepare.frames) / prepare.fps / 3600
    yield 'clips a day, at most', f'{self.clips * steps:,.0f}, {hours:,.0f} hours'


@dataclasses.dataclass(frozen=True)
class Clips:
  """A batch of clips that are sampled from prompts.

  The codec is another program, and formulas leave out the text encoder, which reads once.

  Attributes:
    settings: of the run that is sampled.
    bucket: of the batch, one clip a row.
    shift: by how much levels move towards noise.
  """

  settings: Settings
  bucket: Bucket
  shift: float
  run = 'batch of clips'
  ending = '-sample'
  passing = 'activations'

  @property
  def title(self) -> str:
    return f'{self.bucket.rows} clips at once'

  @property
  def clips(self) -> int:
    return self.bucket.rows

  @property
  def asked(self) -> tuple[tuple[Pass, int], ...]:
    """How often a run asks the network, in each of its passes."""
    return evaluations(self.settings.sample, self.shift)

  @property
  def guided(self) -> float:
    """The share of the solver's evaluations to which guidance adds passes."""
    (_, plain), *weaker = self.asked
    return weaker[0][1] / plain if weaker else 1.0

  @property
  def turns(self) -> tuple[int, int]:
    return sum(n for _, n in self.asked), 0

  def flops(self) -> Flops:
    c, b = self.settings.transformer, self.bucket
    each = [forwards(c, b, one.joined).times(n * b.rows) for one, n in self.asked]
    parts = zip(*(dataclasses.astuple(one) for one in each))
    return Flops(*(sum(part) for part in parts))

  def useful(self) -> float:
    return self.flops().total

  def figures(self, seconds: float) -> Figures:
    s, (_, plain), *weaker = self.settings.sample, *self.asked
    yield 'seconds a clip', f'{seconds / self.clips:.2f}, of {s.seconds:g} s at {s.fps:g} frames/s'
    away = [f'{n} away from {one.away_from}' for one, n in weaker]
    yield 'passes through the network', ', '.join([f'{plain} plain', *away])
    yield 'clips a day', f'{DAY_S * self.clips / seconds:,.0f}'
    yield 'clip-seconds a day', f'{DAY_S * self.clips * s.seconds / seconds:,.0f}'
    yield 'not counted', 'decoding by the codec, which is another program'


@dataclasses.dataclass(frozen=True)
class Decoding:
  """The next frames of a batch of clips, decoded from latents; a clip takes several such runs.

  Attributes:
    settings: of the run whose clips they are.
    config: of the autoencoder.
    size: (frames, height, width) of a clip in latents.
    clips: at once.
    chunk: latent frames of a run.
  """

  settings: Settings
  config: VideoConfig
  size: tuple[int, int, int]
  clips: int
  chunk: int
  run = 'run of the decoder'
  ending = '-decode'
  passing = 'activations'
  turns = 1, 0

  @property
  def title(self) -> str:
    return f'{self.clips} clips at once, {self.pixels[0]} frames of each in a run'

  @property
  def pixels(self) -> tuple[int, int, int]:
    """(frames, height, width) of what a run makes of a clip."""
    (_, h, w), (t, y, x) = self.size, self.config.geometry.stride
    return self.chunk * t, h * y, w * x

  def flops(self) -> Flops:
    return decoding(self.config, self.clips * self.chunk * math.prod(self.size[1:]))

  def useful(self) -> float:
    return self.flops().total

  def figures(self, seconds: float) -> Figures:
    runs, s = math.ceil(self.size[0] / self.chunk), self.settings.sample
    whole, pixels = runs * seconds, self.clips * math.prod(self.pixels)
    yield 'seconds a batch of clips', f'{whole:.2f}, in {runs} runs, of {s.seconds:g} s each'
    yield 'megapixels a second', f'{pixels / seconds / 1e6:,.0f}'
    yield 'not counted', f'{3 * 4 * pixels / 1e9:.2f} GB a run that hosts fetch, and mp4 files'


def decoding_of(settings: Settings, whose: ConvCodec | None, clips: int) -> Decoding:
  """What decodes the config's clips: a codec's pictures, or LTX-2's sizes where none is given.

  Raises:
    UserError: a size that the autoencoder does not make.
  """
  config = ltx2() if whose is None else whose.config
  chunk = CHUNK if whose is None else whose.chunk
  s, g = settings.sample, config.geometry
  size = g.latent_size(g.frames_at_least(round(s.seconds * s.fps)), s.height, s.width)
  return Decoding(settings, config, size, clips, chunk)


def clips_of(settings: Settings, rows: int | None, mesh: sharding.Mesh) -> Clips:
  """The batch that is sampled where so many clips are asked for, or the config's number.

  Raises:
    UserError: a codec that is not there, or a clip that it cannot make.
  """
  s, text = settings.sample, build.text_encoder(settings.text)
  request = Request('', 0, s.seconds, s.fps, s.height, s.width)
  first = blank_latents(request, _geometry(settings))
  rows = rows_over(mesh, s.batch if rows is None else rows)
  bucket = bucket_of(first, rows, text.max_tokens, sharding.shards_of(mesh, 'tokens'))
  return Clips(settings, bucket, shift_of(settings, first.video[..., 0].size))


def _geometry(settings: Settings) -> Geometry:
  if settings.trained:
    found = codec.load(settings.trained).geometry
    build.check_geometry(settings, found)
    return found
  prepare = settings.prepare
  return linear_geometry(settings.codec, prepare.sample_rate_hz, prepare.audio_channels)
