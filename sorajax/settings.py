"""Everything a config file says, as frozen dataclasses; see `build.settings`."""

import dataclasses
import itertools
from typing import Literal

from sorajax.codec.linear import LinearConfig
from sorajax.codec.sound import MelCodecConfig
from sorajax.codec.squeeze import SqueezeConfig
from sorajax.data.clips import ClipLoaderConfig
from sorajax.data.loader import LoaderConfig
from sorajax.data.prepare_file import PrepareConfig
from sorajax.model.config import TransformerConfig
from sorajax.model.lora import LoraConfig
from sorajax.optim import OptimizerConfig
from sorajax.sharding import MeshConfig


@dataclasses.dataclass(frozen=True)
class TextConfig:
  """Which text encoder reads the prompts.

  Attributes:
    kind: `bytes` and `words` are small and trained along; `minilm` is pretrained (extra [minilm]),
      and so is `ltx2`, Gemma with the connectors of a released LTX-2 (extra [ltx2]).
    width: of the small encoder's output; MiniLM's is 384.
    depth: layers of the small encoder.
    max_tokens: longer prompts are cut.
    folder: of `ltx2`, as diffusers saves it.
    dtype: of the weights of `ltx2`.
    encoded: folder of prompts that `ltx2` read beforehand; '' where it reads them now.
  """

  kind: Literal['bytes', 'words', 'minilm', 'ltx2'] = 'bytes'
  width: int = 128
  depth: int = 2
  max_tokens: int = 96
  folder: str = ''
  dtype: Literal['float32', 'bfloat16'] = 'bfloat16'
  encoded: str = ''


@dataclasses.dataclass(frozen=True)
class FlowConfig:
  """What is learned, and at which noise levels.

  Attributes:
    preconditioned: whether the network learns what a linear guess misses; see `network.Network`.
    mean: of the logit-normal levels.
    std: of the logit-normal levels.
    uniform: share of the levels drawn evenly instead.
    shift: μ by which levels move towards noise, in training and in sampling.
    together: share of the clips whose picture and sound have the same level.
    weight: modality → weight of its loss.
  """

  preconditioned: bool = True
  mean: float = 0.0
  std: float = 1.0
  uniform: float = 0.1
  shift: float = 0.0
  together: float = 0.75
  weight: dict[str, float] = dataclasses.field(default_factory=lambda: {'video': 1.0, 'audio': 1.0})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """A training run.

  Attributes:
    steps: in all.
    seed: of parameters, data order, noise and tasks.
    micro_batches: into how many a batch is split, to save memory; the gradients are the same.
    tasks: capability → weight in the mixture.
    log_every: steps between lines of the log.
    save_every: steps between checkpoints.
    keep: checkpoints kept.
    evaluate_every: steps between held-out losses; 0 for never.
    evaluate_batches: of held-out clips, at most.
    sample_every: steps between samples; 0 for never.
    sample_prompts: what they show.
    bad_steps: steps in a row that may be skipped because they are not finite.
  """

  steps: int
  seed: int = 0
  micro_batches: int = 1
  tasks: dict[str, float] = dataclasses.field(default_factory=lambda: {'text_to_clip': 1.0})
  log_every: int = 10
  save_every: int = 500
  keep: int = 2
  evaluate_every: int = 500
  evaluate_batches: int = 4
  sample_every: int = 0
  sample_prompts: tuple[str, ...] = ()
  bad_steps: int = 3

  def __post_init__(self) -> None:
    for name in ('micro_batches', 'log_every', 'save_every', 'keep', 'evaluate_batches'):
      if getattr(self, name) < 1:
        raise ValueError(f'{name} is {getattr(self, name)}; give 1 or more')


@dataclasses.dataclass(frozen=True)
class SampleConfig:
  """Defaults of sampling.

  Attributes:
    seconds: of a clip.
    fps: frames a second.
    height: in pixels.
    width: in pixels.
    steps: of the solver.
    last: noise level at which the last step begins, to which the others are stretched; 0 leaves
      them as they are.
    shift: (tokens, μ, tokens, μ): levels move towards noise by the μ that lies on the line through
      these at the number of the picture's tokens; () for the shift of `flow`.
    levels: noise levels of all steps, falling to 0, in place of `steps` and `last`; () for none.
    refine: noise levels of the second stage, where a clip is made small first and then enlarged;
      the first of them says how much noise the enlarged clip is given.
    solver: its name, in `flow.solver.SOLVERS`.
    wait: modality → steps for which it stays noise while the others are made, of which it then
      sees more; a run has as many steps more.
    guidance: modality → scale of guidance away from no prompt; 1 for none.
    modality_guidance: modality → scale of guidance away from what is made without attention
      to the other stream; 1 for none.
    skip_guidance: modality → scale of guidance away from what is made without the self-attention
      of `skip_layers`; 0 for none.
    skip_layers: numbers of these layers, from 0.
    rescale: of guidance; see `flow.guidance.guided`.
    interval: noise levels between which guidance acts, on all while one stream is there.
    batch: clips sampled at once.
    image_crf: of H.264, by which an image that is given is coded first, as the films were that the
      model learned from; 0 leaves it as it is.
  """

  seconds: float
  fps: float
  height: int
  width: int
  steps: int = 32
  last: float = 0.0
  shift: tuple[float, ...] = ()
  levels: tuple[float, ...] = ()
  refine: tuple[float, ...] = (0.909375, 0.725, 0.421875, 0.0)
  solver: Literal['euler', 'heun', 'adams_bashforth'] = 'adams_bashforth'
  wait: dict[str, int] = dataclasses.field(default_factory=lambda: {'video': 0, 'audio': 0})
  guidance: dict[str, float] = dataclasses.field(
    default_factory=lambda: {'video': 2.0, 'audio': 2.0}
  )
  modality_guidance: dict[str, float] = dataclasses.field(
    default_factory=lambda: {'video': 1.0, 'audio': 1.0}
  )
  skip_guidance: dict[str, float] = dataclasses.field(
    default_factory=lambda: {'video': 0.0, 'audio': 0.0}
  )
  skip_layers: tuple[int, ...] = ()
  rescale: float = 0.0
  interval: tuple[float, float] = (0.0, 1.0)
  batch: int = 4
  image_crf: int = 0

  def __post_init__(self) -> None:
    if self.steps < 1 or self.batch < 1:
      raise ValueError(f'steps are {self.steps} and batch is {self.batch}; give 1 or more of each')
    if len(self.interval) != 2 or not 0 <= self.interval[0] <= self.interval[1] <= 1:
      raise ValueError(f'interval is {self.interval}; give two rising noise levels from 0 to 1')
    if not 0 <= self.rescale <= 1:
      raise ValueError(f'rescale is {self.rescale}; give 0 to 1')
    if not 0 <= self.image_crf <= 51:
      raise ValueError(f'image_crf is {self.image_crf}; give 0 to 51')
    if not 0 <= self.last < 1:
      raise ValueError(f'last is {self.last}; give a noise level from 0 to below 1')
    if len(self.shift) not in (0, 4) or self.shift[:1] == self.shift[2:3] != ():
      raise ValueError(f'shift is {self.shift}; give two numbers of tokens, a μ behind each')
    if self.levels and not _falling(self.levels):
      raise ValueError(f'levels are {self.levels}; give noise levels that fall from 1 to 0')
    if not _falling(self.refine) or self.refine[0] == 1:
      raise ValueError(f'refine is {self.refine}; give noise levels that fall from below 1 to 0')
    if any(steps < 0 for steps in self.wait.values()):
      raise ValueError(f'wait is {self.wait}; give steps from 0')

  def __hash__(self) -> int:
    return hash(repr(self))


def _falling(numbers: tuple[float, ...]) -> bool:
  """Whether noise levels fall to 0 from 1 at most."""
  ends = len(numbers) > 1 and numbers[0] <= 1 and numbers[-1] == 0
  return ends and all(a > b for a, b in itertools.pairwise(numbers))


@dataclasses.dataclass(frozen=True)
class Settings:
  """A whole config file.

  Attributes:
    name: of the run.
    prepare: films → clips.
    codec: clips → latents, by a linear codec that is fitted on them; `trained` takes its place.
    mesh: devices.
    data: latents → batches.
    transformer: the network's size.
    text: the text encoder.
    flow: what is learned.
    optimizer: how.
    train: how long.
    sample: defaults of sampling.
    trained: folder or name of a learned codec of `codec`'s channels; '' for none.
    start: folder or name of a run of this network, or an LTX-2 as diffusers saves it, whose
      (averaged) weights training goes on from; '' for none.
    lora: low-rank changes to those weights, trained in their place.
  """

  name: str
  prepare: PrepareConfig
  codec: LinearConfig
  mesh: MeshConfig
  data: LoaderConfig
  transformer: TransformerConfig
  text: TextConfig
  flow: FlowConfig
  optimizer: OptimizerConfig
  train: TrainConfig
  sample: SampleConfig
  trained: str = ''
  start: str = ''
  lora: LoraConfig = dataclasses.field(default_factory=LoraConfig)


@dataclasses.dataclass(frozen=True)
class PictureConfig:
  """A picture autoencoder; see `codec.video_config.compact`.

  Attributes:
    stride: (frames, height, width) of the pixels that one latent covers.
    channels: C of a latent.
    widths: channels at every size, from the pixels inwards.
    blocks: residual blocks at every size of the encoder.
    patch: side of the squares of pixels that are folded into channels first.
    decoder_blocks: the same of the decoder; 0 for as many as the encoder has.
    decoder_widths: channels at every size of the decoder, from the pixels inwards; () for `widths`.
    factored: whether residual blocks convolve over space, then time, all others over space.
    shift: 0 for convolutions; else blocks shift channels and mix them in a perceptron of this many
      times the width.
    straight: whether it begins as a fitted linear codec and learns what to add.
    join: side of the squares of places that then share a latent, their channels in turn; `stride`
      and `channels` are those of what they share.
    chunk: latent frames that the finished codec codes at once; the fewer, the less memory, but each
      number of them that occurs in a clip is compiled.
  """

  stride: tuple[int, int, int]
  channels: int
  widths: tuple[int, ...]
  blocks: int = 1
  patch: int = 4
  decoder_blocks: int = 0
  decoder_widths: tuple[int, ...] = ()
  factored: bool = True
  shift: int = 0
  straight: bool = True
  join: int = 1
  chunk: int = 4


@dataclasses.dataclass(frozen=True)
class PictureLossConfig:
  """Weights of what a picture autoencoder is trained on; see `codec.loss`.

  Attributes:
    absolute: mean absolute difference of pixels in [−1, 1].
    squared: mean square difference.
    pyramid: absolute difference of smaller and smaller pictures.
    edges: of the gradients of pictures.
    spectrum: of Fourier coefficients.
    flicker: of changes from frame to frame.
    moving: absolute difference, weighed by how far a pixel is from what it is at other times.
    divergence: of the latents from a standard normal distribution.
    roughness: of the latents in time.
    noise: latents are decoded with noise on top, of up to this share of their own deviation, so
      that the decoder forgives what a transformer does not get quite right (Zheng et al. 2025).
  """

  absolute: float = 1.0
  squared: float = 0.0
  pyramid: float = 1.0
  edges: float = 0.5
  spectrum: float = 0.0
  flicker: float = 0.5
  moving: float = 0.0
  divergence: float = 1e-4
  roughness: float = 0.0
  noise: float = 0.0


@dataclasses.dataclass(frozen=True)
class CodecRun:
  """What the config files of all learned codecs hold.

  Attributes:
    name: of the run.
    prepare: films → clips.
    codec: the linear one, whose other half stands beside the learned half.
    mesh: devices.
    data: clips → batches.
    optimizer: how the loss is minimised.
    train: how long.
    start: folder or name of a learned codec of this size that training goes on from; '' for none.
  """

  name: str
  prepare: PrepareConfig
  codec: LinearConfig
  mesh: MeshConfig
  data: ClipLoaderConfig
  optimizer: OptimizerConfig
  train: TrainConfig
  start: str = dataclasses.field(default='', kw_only=True)


@dataclasses.dataclass(frozen=True)
class CodecSettings(CodecRun):
  """A whole config file of a learned codec of pictures.

  Attributes:
    picture: the autoencoder.
    loss: what is minimised.
    encoder_of: folder or name of a learned codec whose encoder and latents are kept, and for which
      only a decoder is trained; '' for none.
  """

  picture: PictureConfig
  loss: PictureLossConfig
  encoder_of: str = dataclasses.field(default='', kw_only=True)


@dataclasses.dataclass(frozen=True)
class SoundLossConfig:
  """Weights of what a codec of sound is trained on; see `codec.sound_loss`.

  Attributes:
    waveform: mean absolute difference of samples.
    spectra: of log amplitudes, at many widths of window.
    convergence: of amplitudes, over those of the sound.
    mel: of log-mel spectra.
    divergence: of the latents from a standard normal distribution.
    smooth: whether logarithms have a gradient at silence.
  """

  waveform: float = 10.0
  spectra: float = 1.0
  convergence: float = 1.0
  mel: float = 1.0
  divergence: float = 1e-4
  smooth: bool = False


@dataclasses.dataclass(frozen=True)
class SoundCodecSettings(CodecRun):
  """A whole config file of a learned codec of sound.

  Attributes:
    sound: the network.
    loss: what is minimised.
  """

  sound: SqueezeConfig
  loss: SoundLossConfig


@dataclasses.dataclass(frozen=True)
class MelLossConfig(SoundLossConfig):
  """Weights of what a mel autoencoder and, beside it, its vocoder are trained on.

  A spectrogram does not tell where a wave begins, so samples need not be those of the sound.

  Attributes:
    spectrogram: mean absolute difference of the mel frames that the vocoder reads, in nats.
  """

  waveform: float = 0.0
  spectrogram: float = 1.0


@dataclasses.dataclass(frozen=True)
class MelCodecSettings(CodecRun):
  """A whole config file of a mel autoencoder and its vocoder.

  Attributes:
    mel_codec: the spectrogram and the networks; the vocoder is that which has the keys given.
    loss: what is minimised.
  """

  mel_codec: MelCodecConfig
  loss: MelLossConfig
