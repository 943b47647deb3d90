import dataclasses

import numpy as np
import pytest
from tiny import refused

from sorajax.geometry import AudioGeometry, Geometry, Layout, VideoGeometry
from sorajax.tasks import capabilities

GEOMETRY = Geometry(VideoGeometry((2, 8, 8), 4), AudioGeometry(8_000, 1, 800, 4, 40, 40))


def layout(latent_frames: int = 9, latents: int = 22) -> Layout:
  return Layout(
    (latent_frames, 2, 3),
    GEOMETRY.video.spans_s(latent_frames, 8.0),
    GEOMETRY.audio.spans_s(latents),
  )


@pytest.mark.parametrize('task', capabilities.TASKS)
@pytest.mark.parametrize('size', [(9, 22), (1, 0), (1, 5), (0, 22), (9, 0)])
def test_masks_lie_over_the_latents(task, size):
  given = capabilities.TASKS[task](layout(*size), 0.7)
  assert given['video'].shape == (size[0], 2, 3) and given['audio'].shape == (size[1],)
  assert all(mask.dtype == bool for mask in given.values())


@pytest.mark.parametrize(
  'task, frames, latents',
  [
    ('text_to_clip', [0] * 9, [0] * 22),
    ('image_to_clip', [1] + [0] * 8, [0] * 22),
    ('video_to_audio', [1] * 9, [0] * 22),
    ('audio_to_video', [0] * 9, [1] * 22),
  ],
)
def test_each_task_gives_what_it_says(task, frames, latents):
  given = capabilities.find(task)(layout(), 0.7)
  assert (given['video'] == np.array(frames, bool)[:, None, None]).all()
  assert (given['audio'] == np.array(latents, bool)).all()


def test_extend_gives_all_that_ends_by_then_in_both_streams():
  here = layout()
  for given_s in np.linspace(0, 2.5, 60):
    given = capabilities.extend(here, float(given_s))
    for mask, spans in ((given['video'][:, 0, 0], here.video_s), (given['audio'], here.audio_s)):
      assert (mask == (spans[:, 1] <= given_s + 1e-6)).all()
      assert not np.diff(mask.astype(int)).max(initial=-1) > 0  # from the start on, without a gap


def test_extend_counts_a_latent_that_ends_at_the_very_moment():
  here = layout()
  for frame, (_, end) in enumerate(here.video_s):
    given = capabilities.extend(here, float(np.float32(end)))
    assert given['video'][:, 0, 0].sum() == frame + 1


def test_an_unknown_task_is_refused_with_those_that_are_known():
  with refused(r"the task 'fly'; it knows text_to_clip, image_to_clip, extend"):
    capabilities.find('fly')
  with refused(r"the task 'extend'; it knows text_to_clip$"):
    capabilities.find('extend', ('text_to_clip',))


def drawn(mixture, here, count: int = 4000) -> list[dict[str, np.ndarray]]:
  rng = np.random.default_rng(0)
  return [capabilities.draw(rng, mixture, here) for _ in range(count)]


def test_of_frames_that_stand_alone_some_are_drawn_and_never_none():
  here = dataclasses.replace(layout(), keyframes=3)
  masks = np.stack([given['keyframes'] for given in drawn({'keyframes': 1.0}, here)])
  assert masks.any(axis=1).all() and set(masks.sum(axis=1)) == {1, 2, 3}
  np.testing.assert_allclose(masks.mean(axis=0), 2 / 3, atol=0.05)
  for given in drawn({'keyframes': 1.0, 'extend': 1.0}, here, 50):
    assert ('keyframes' in given) != given['video'].any()


def kind(given) -> str:
  video, audio = given['video'], given['audio']
  names = {(0, 0): 'text_to_clip', (1, 0): 'video_to_audio', (0, 1): 'audio_to_video'}
  if video.all() or audio.all() or not (video.any() or audio.any()):
    return names[bool(video.all()), bool(audio.all())]
  return 'extend' if audio.any() else 'image_to_clip'


def test_tasks_are_drawn_by_their_weight():
  """Within 5 standard errors: fails by chance once in 300,000 runs, were it not seeded."""
  mixture = {
    'text_to_clip': 3.0, 'extend': 2.0, 'image_to_clip': 2.0, 'video_to_audio': 1.0,
    'audio_to_video': 0.0,
  }  # fmt: skip
  kinds = [kind(given) for given in drawn(mixture, layout())]
  for name, weight in mixture.items():
    share = weight / sum(mixture.values())
    bound = 5 * np.sqrt(share * (1 - share) / len(kinds))
    assert kinds.count(name) / len(kinds) == pytest.approx(share, abs=bound)


def test_extend_is_drawn_with_many_lengths_and_never_the_whole():
  lengths = {given['audio'].sum() for given in drawn({'extend': 1.0}, layout(), 500)}
  assert len(lengths) > 10 and min(lengths) > 0 and max(lengths) < 22


@pytest.mark.parametrize('size', [(9, 0), (0, 22), (1, 22)])
def test_a_clip_that_lacks_a_stream_has_nothing_given(size):
  mixture = dict.fromkeys(capabilities.TASKS, 1.0)
  for given in drawn(mixture, layout(*size), 100):
    assert not any(mask.any() for mask in given.values())
