"""Two stages: a clip is made small, its latents are enlarged, and noise and steps make it sharp.

As LTX-2 is sampled at its largest sizes (Lightricks 2026).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from sorajax.clip import MODALITIES, Clip, Latents
from sorajax.codec.upsampler import Enlarger
from sorajax.generate.request import Plan, Request
from sorajax.geometry import VideoGeometry
from sorajax.media import picture
from sorajax.settings import SampleConfig


@dataclasses.dataclass(frozen=True)
class Refiner:
  """What comes between the stages.

  Attributes:
    enlarger: of the small clip's picture.
    params: of the second stage; None for those of the first.
  """

  enlarger: Enlarger
  params: Any = None

  def first(self, last: Plan, geometry: VideoGeometry) -> Request:
    """The request of the small clip, for the plan of the large one.

    Raises:
      UserError: a size that the enlarger does not make.
    """
    config, own = self.enlarger.config, last.request
    f, h, w, _ = last.latents.video.shape
    frames, height, width = config.before((f, h, w), geometry.stride)
    _, down, across = geometry.stride
    size = (height * down, width * across)
    seconds, fps = own.seconds, own.fps
    if config.doubled:
      fps = own.fps / 2
      seconds = geometry.pixel_frames(frames) / fps
    step = 2 if config.doubled else 1
    given, reference = (clip and _smaller(clip, size, step) for clip in (own.given, own.reference))
    keyframes = None if own.keyframes is None else picture.resized(own.keyframes, size)
    return dataclasses.replace(
      own, seconds=seconds, fps=fps, height=size[0], width=size[1], given=given,
      reference=reference, keyframes=keyframes,
    )  # fmt: skip

  def second(self, plans: Sequence[Plan], made: Sequence[Latents]) -> list[Plan]:
    """Plans of the large clips that begin with the enlarged latents of the small ones."""
    enlarged = self.enlarger(np.stack([latents.video for latents in made]))
    return [_begun(p, video, one.audio) for p, video, one in zip(plans, enlarged, made)]


def second_stage(config: SampleConfig) -> SampleConfig:
  """How the second stage is sampled: over its own levels, and without guidance."""
  one, none = dict.fromkeys(MODALITIES, 1.0), dict.fromkeys(MODALITIES, 0.0)
  return dataclasses.replace(
    config,
    levels=config.refine,
    wait=dict.fromkeys(MODALITIES, 0),
    guidance=one,
    modality_guidance=one,
    skip_guidance=none,
  )


def _begun(plan: Plan, video: np.ndarray, audio: np.ndarray) -> Plan:
  own = plan.latents
  audio = audio[: len(own.audio)]  # half the frames are a little longer than all of them
  given = {m: plan.given[m][..., None] for m in MODALITIES}
  latents = dataclasses.replace(
    own,
    video=np.where(given['video'], own.video, video).astype(np.float32),
    audio=np.where(given['audio'], own.audio, audio).astype(np.float32),
  )
  return dataclasses.replace(plan, latents=latents, begins={})


def _smaller(clip: Clip, size: tuple[int, int], step: int) -> Clip:
  """Every `step`-th frame of a clip, in another size."""
  video = picture.resized(clip.video[::step], size)
  return dataclasses.replace(clip, video=video, fps=clip.fps / step)
