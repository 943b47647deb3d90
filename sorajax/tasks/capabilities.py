"""One function a capability: which tokens of a clip are given. The rest is what the model makes.

Conditioning is nothing but tokens at noise level 0, so this is all that a capability is.
"""

from collections.abc import Callable, Iterable

import numpy as np

from sorajax.errors import UserError
from sorajax.geometry import Layout

# video: bool [f, h, w]; audio: bool [n]; keyframes: bool [K], where such are given
Given = dict[str, np.ndarray]
Task = Callable[[Layout, float], Given]


def text_to_clip(layout: Layout, given_s: float) -> Given:
  """Nothing is given but the prompt."""
  return _given(layout, frames=np.zeros(layout.size[0]), audio=np.zeros(len(layout.audio_s)))


def image_to_clip(layout: Layout, given_s: float) -> Given:
  """The first frame is given."""
  frames = np.arange(layout.size[0]) == 0
  return _given(layout, frames=frames, audio=np.zeros(len(layout.audio_s)))


def extend(layout: Layout, given_s: float) -> Given:
  """The first `given_s` seconds of both streams are given."""
  inside = given_s + 1e-6
  return _given(layout, layout.video_s[:, 1] <= inside, layout.audio_s[:, 1] <= inside)


def video_to_audio(layout: Layout, given_s: float) -> Given:
  """The whole picture is given; the sound is made for it."""
  return _given(layout, np.ones(layout.size[0]), np.zeros(len(layout.audio_s)))


def audio_to_video(layout: Layout, given_s: float) -> Given:
  """The whole sound is given; the picture is made for it."""
  return _given(layout, np.zeros(layout.size[0]), np.ones(len(layout.audio_s)))


def keyframes(layout: Layout, given_s: float) -> Given:
  """Frames that stand alone are given, anywhere in the clip."""
  return {**text_to_clip(layout, given_s), 'keyframes': np.ones(layout.keyframes, bool)}


TASKS: dict[str, Task] = {
  task.__name__: task
  for task in (text_to_clip, image_to_clip, extend, video_to_audio, audio_to_video, keyframes)
}


def find(name: str, known: Iterable[str] = tuple(TASKS)) -> Task:
  """The task of that name; `UserError` unless it is among the `known` ones."""
  if name not in TASKS or name not in known:
    raise UserError(f'this model has not learned the task {name!r}; it knows {", ".join(known)}')
  return TASKS[name]


def draw(rng: np.random.Generator, mixture: dict[str, float], layout: Layout) -> Given:
  """A task drawn from a mixture, with a random amount given where it takes one.

  A clip that lacks a stream gets `text_to_clip` for what it has: there is nothing to give.

  Args:
    rng: decides.
    mixture: task → weight.
    layout: of the clip.
  """
  names = sorted(mixture)
  weights = np.array([mixture[n] for n in names], np.float64)
  name = names[rng.choice(len(names), p=weights / weights.sum())]
  share = rng.uniform(0.2, 0.8)
  if not (len(layout.video_s) > 1 and len(layout.audio_s)):
    name = 'text_to_clip'
  ends = [spans[-1, 1] for spans in (layout.video_s, layout.audio_s) if len(spans)]
  given = find(name)(layout, share * max(ends))
  if 'keyframes' in given:
    given['keyframes'] = _some(rng, layout.keyframes)
  return given


def _some(rng: np.random.Generator, count: int) -> np.ndarray:
  """bool [count]; one of them or more."""
  return np.isin(np.arange(count), rng.permutation(count)[: rng.integers(1, count + 1)])


def _given(layout: Layout, frames: np.ndarray, audio: np.ndarray) -> Given:
  video = np.broadcast_to(frames.astype(bool)[:, None, None], layout.size)
  return {'video': video, 'audio': audio.astype(bool)}
