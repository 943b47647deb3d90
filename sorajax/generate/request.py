"""What a person asks for, and the plan that answers it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from sorajax.clip import MODALITIES, Clip, Latents
from sorajax.codec.codec import Codec
from sorajax.data import latents as latents_lib
from sorajax.errors import UserError
from sorajax.geometry import Geometry, samples_of
from sorajax.media.drawings import drawn
from sorajax.tasks import capabilities

LARGEST_SEED = 2**32 - 1
MOST_TOKENS = 2**24  # of a clip; far beyond what attention can join
REMIX = 'remix'  # no capability: nothing of it is given, and every model can do it
LONGEST_PROMPT = 10_000  # characters; far beyond what any text encoder reads


@dataclasses.dataclass(frozen=True)
class Request:
  """One clip to be made.

  Attributes:
    prompt: what it shows.
    seed: of its noise, 0 … 2³² − 1; the same request and seed give the same clip.
    seconds: its duration.
    fps: frames a second.
    height: in pixels.
    width: in pixels.
    task: which capability, by its name in `tasks.capabilities`.
    given: the clip or image that the task starts from, at this rate and size.
    given_s: how much of it is given, where the task takes a part of it.
    hold: how firmly what is given stays as it is: 1 for wholly, less lets the model change it.
    strength: noise level at which a remix begins: 0 would leave the input as it is, 1 take nothing
      of it.
    given_path: where it came from, for the record.
    given_sound: its sound as finely as the codec plays, where that is finer than it reads.
    reference: a clip or image that this one is made after, in its context, at this rate and size.
    reference_path: where it came from, for the record.
    reference_as: the drawing of it that is taken, by its name in `media.drawings`.
    reference_smaller: how many times smaller that is than the clip.
    keyframes: uint8 [K, H, W, 3], pictures that the clip comes by; None for none.
    keyframe_paths: where they came from, for the record.
    keyframe_s: when it does.
  """

  prompt: str
  seed: int
  seconds: float
  fps: float
  height: int
  width: int
  task: str = 'text_to_clip'
  given: Clip | None = None
  given_s: float = 0.0
  hold: float = 1.0
  strength: float = 1.0
  given_path: str = ''
  given_sound: Clip | None = None
  reference: Clip | None = None
  reference_path: str = ''
  reference_as: str = 'picture'
  reference_smaller: int = 1
  keyframes: np.ndarray | None = None
  keyframe_paths: Sequence[str] = ()
  keyframe_s: Sequence[float] = ()

  @property
  def frames(self) -> int:
    """Frames of the finished clip."""
    return round(self.seconds * self.fps)

  def check(self) -> None:
    """Raises `UserError` for what no model could make."""
    if not 0 <= self.seed <= LARGEST_SEED:
      raise UserError(f'seed {self.seed} is out of range; give 0 to {LARGEST_SEED}')
    if not np.isfinite(self.seconds * self.fps) or self.frames < 1:
      raise UserError(
        f'{self.seconds} s at {self.fps} frames/s is no clip; ask for at least one frame'
      )
    if len(self.prompt) > LONGEST_PROMPT:
      raise UserError(
        f'the prompt has {len(self.prompt)} characters; give at most {LONGEST_PROMPT}'
      )
    if self.task == 'extend' and not 0 < self.given_s < self.seconds:
      raise UserError(
        f'extend is given {self.given_s} s of a clip of {self.seconds} s; ask for more --seconds '
        'than are given'
      )
    if self.task == REMIX and not 0 < self.strength < 1:
      raise UserError(f'strength {self.strength} of a remix; give more than 0 and less than 1')
    if not 0 < self.hold <= 1:
      raise UserError(f'hold {self.hold} of what is given; give more than 0 and at most 1')
    if self.given is not None and self.given_s > self.given.seconds + 1e-6:
      raise UserError(
        f'{self.given_s} s are to be given and the input has {self.given.seconds:.2f} s'
      )


@dataclasses.dataclass(frozen=True)
class Plan:
  """A request in the codec's terms.

  Attributes:
    request: what was asked for.
    latents: of the asked size; what is given, and what a remix begins with, holds its values, the
      rest is 0.
    given: as `tasks.capabilities.Given`.
    begins: modality → noise level at which it begins, where that is not pure noise.
  """

  request: Request
  latents: Latents
  given: dict[str, np.ndarray]
  begins: Mapping[str, float] = dataclasses.field(default_factory=dict)

  def keeps(self, modality: str) -> bool:
    """Whether a stream is given as a whole and stays as it came."""
    return self.request.hold == 1 and bool(self.given[modality].all())


def plan(request: Request, codec: Codec, known_tasks: tuple[str, ...]) -> Plan:
  """Lays out a request's latents; `UserError` for a request that cannot be met."""
  name = 'text_to_clip' if request.task == REMIX else request.task
  task = capabilities.find(name, known_tasks)
  blank = blank_latents(request, codec.geometry)
  if request.reference is not None:
    blank = dataclasses.replace(blank, reference=_reference(request, codec, blank.frames))
  if request.keyframes is not None:
    capabilities.find('keyframes', known_tasks)
    blank = latents_lib.alone(blank, request.keyframes, _moments(request), codec)
  layout = codec.geometry.layout(blank)
  given = task(layout, request.given_s)
  if request.keyframes is not None:
    given['keyframes'] = np.ones(layout.keyframes, bool)
  elif request.task == 'keyframes':
    raise UserError('the task keyframes needs pictures; add --keyframe=IMAGE@SECONDS')
  if request.hold != 1 and not any(shown.any() for shown in given.values()):
    raise UserError(f'{request.task} is given nothing that could be held; leave out --hold')
  if request.task == REMIX:
    return _remix(request, blank, given, codec)
  if not any(given[m].any() for m in MODALITIES):
    _check_unused(request)
    return Plan(request, blank, given)
  source = _source(request, blank, codec)
  _check_given(request, given)
  video = np.where(given['video'][..., None], source.video, 0.0).astype(np.float32)
  audio = np.where(given['audio'][..., None], source.audio, 0.0).astype(np.float32)
  return Plan(request, dataclasses.replace(blank, video=video, audio=audio), given)


def _remix(request: Request, blank: Latents, given: dict[str, np.ndarray], codec: Codec) -> Plan:
  """A clip made over from the noised latents of another (Meng et al. 2022, SDEdit).

  A stream that the other lacks begins with pure noise.
  """
  source = _source(request, blank, codec)
  assert request.given is not None
  has = {'video': len(request.given.video) > 0, 'audio': len(request.given.audio) > 0}
  begins = {m: request.strength for m in MODALITIES if has[m]}
  latents = dataclasses.replace(blank, **{m: getattr(source, m) for m in begins})
  return Plan(request, latents, given, begins)


def _source(request: Request, blank: Latents, codec: Codec) -> Latents:
  """Latents of what a task starts from, as long as `blank`."""
  if request.given is None:
    raise UserError(f'the task {request.task} needs something to start from; add --input=FILE')
  return codec.encode(_fitted(request.given, blank.frames, blank.samples))


def _moments(request: Request) -> list[int]:
  """Which frames of a clip keyframes are; its end is its last."""
  for at_s, path in zip(request.keyframe_s, request.keyframe_paths):
    if not 0 <= at_s <= request.seconds:
      raise UserError(
        f'--keyframe={path}@{at_s:g} lies outside of a clip of {request.seconds:g} s; give 0 to '
        f'{request.seconds:g}'
      )
  return [min(round(at_s * request.fps), request.frames - 1) for at_s in request.keyframe_s]


def _reference(request: Request, codec: Codec, frames: int) -> np.ndarray:
  """Latents of what a clip is made after, of as many of `frames` as there are."""
  assert request.reference is not None
  stride = codec.geometry.video.stride[0]
  video = request.reference.video[:frames]
  video = video[: 1 + (len(video) - 1) // stride * stride]
  try:
    return codec.encode_picture(drawn(video, request.reference_as, request.reference_smaller))
  except UserError as error:
    raise UserError(f'{request.reference_path} as a reference: {error}') from error


def blank_latents(request: Request, geometry: Geometry) -> Latents:
  """Latents of a request's size, all 0.

  The clip is made a little longer than asked where the codec needs it, and cut afterwards.

  Raises:
    UserError: a request that cannot be met, with what could be.
  """
  request.check()
  g = geometry
  frames = g.video.frames_at_least(request.frames)
  samples = samples_of(frames, request.fps, g.audio.sample_rate_hz)
  size = g.video.latent_size(frames, request.height, request.width)
  tokens = math.prod(size) + g.audio.latent_length(samples)
  if tokens > MOST_TOKENS:
    raise UserError(
      f'{request.seconds} s of {request.height}×{request.width} are {tokens} tokens; ask for a '
      f'shorter or smaller clip, of at most {MOST_TOKENS}'
    )
  return Latents(
    video=np.zeros((*size, g.video.channels), np.float32),
    audio=np.zeros((g.audio.latent_length(samples), g.audio.channels), np.float32),
    fps=request.fps,
    frames=frames,
    samples=samples,
  )


def finish(plan: Plan, made: Clip) -> Clip:
  """Cuts a decoded clip to what was asked for, and keeps a wholly given stream as it came.

  Sound that is louder than a file can hold is made softer as a whole, so that nothing is cut off.
  """
  request, rate_hz = plan.request, made.sample_rate_hz
  length = lambda rate_hz: samples_of(request.frames, request.fps, rate_hz)
  video, audio = made.video[: request.frames], made.audio[: length(rate_hz)]
  audio = audio / max(float(np.abs(audio).max(initial=0.0)), 1.0)
  if request.given is not None:
    if plan.keeps('video'):
      video = _fitted(request.given, request.frames, 0).video
    if plan.keeps('audio'):
      sounding = request.given_sound or request.given
      rate_hz = sounding.sample_rate_hz  # which need not be that at which the codec plays
      audio = _sound_fitted(sounding.audio, length(rate_hz))
  return Clip(video, audio, made.fps, rate_hz)


def _fitted(clip: Clip, frames: int, samples: int) -> Clip:
  """A clip cut or stretched to a length: its last frame stands, its sound falls silent."""
  missing = max(frames - len(clip.video), 0)
  video = np.concatenate([clip.video[:frames], np.repeat(clip.video[-1:], missing, axis=0)])
  if len(video) < frames:  # sound alone: nothing of this picture is given
    video = np.zeros((frames, *clip.video.shape[1:]), np.uint8)
  return Clip(video, _sound_fitted(clip.audio, samples), clip.fps, clip.sample_rate_hz)


def _sound_fitted(audio: np.ndarray, samples: int) -> np.ndarray:
  """Sound [S, A] cut to a length, or followed by silence."""
  return np.pad(audio[:samples], ((0, max(samples - len(audio), 0)), (0, 0)))


def _check_given(request: Request, given: dict[str, np.ndarray]) -> None:
  """Raises where the task starts from a stream that the input lacks."""
  if request.given is None:
    return
  lacks_picture = given['video'].any() and not len(request.given.video)
  # Before a silent film goes on, there was silence; but nothing can be made from silence alone.
  if lacks_picture or (given['audio'].all() and not len(request.given.audio)):
    what, give = ('picture', 'a film') if lacks_picture else ('sound', 'a film or a sound')
    raise UserError(f'{request.given_path} has no {what} for {request.task}; give {give} that has')


def _check_unused(request: Request) -> None:
  """Raises where there is something to start from, of which the task takes nothing."""
  if request.given is None:
    return
  what = request.given_path or 'a clip'
  if request.task == 'extend':
    raise UserError(f'{request.given_s:g} s of {what} are less than one latent; give more of it')
  raise UserError(
    f'{request.task} takes nothing of {what}; name what is made of it, such as '
    '--task=image_to_clip, extend, video_to_audio or audio_to_video'
  )
