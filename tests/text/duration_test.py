"""Laws of the head that finds a clip's duration."""

import jax
import numpy as np
import pytest
from tiny import noisy, refused

from sorajax.codec import plain
from sorajax.text.duration import Duration, DurationConfig, frames_of
from sorajax.weights import ltx2_duration
from sorajax.weights.stored import Part, Stored

SMALL = DurationConfig(audio=3, video=5, width=8, queries=2, heads=2, hidden=6)
PARAMS = noisy(lambda: plain.initial(Duration, SMALL, jax.random.key(0)), size=0.5)


def seconds(text: np.ndarray) -> np.ndarray:
  return np.asarray(jax.jit(plain.joined(Duration, SMALL, PARAMS))(text))


def test_the_order_of_words_and_of_prompts_changes_nothing():
  rng = np.random.default_rng(0)
  text = rng.standard_normal((3, 7, 8)).astype(np.float32)
  made = seconds(text)
  assert (made > 0).all() and np.ptp(made) > 1e-3
  np.testing.assert_allclose(seconds(text[:, rng.permutation(7)]), made, rtol=1e-5)
  np.testing.assert_allclose(seconds(text[::-1]), made[::-1], rtol=1e-5)


def test_both_streams_are_heard():
  text = np.random.default_rng(1).standard_normal((1, 7, 8)).astype(np.float32)
  for channels in (slice(0, 3), slice(3, 8)):
    other = text.copy()
    other[..., channels] += 1
    assert abs(seconds(other) - seconds(text)) > 1e-4


@pytest.mark.parametrize('fps', [8.0, 24.0, 25.0, 29.97])
@pytest.mark.parametrize('stride', [1, 4, 8])
def test_frames_are_on_the_grid_and_within_the_bounds(fps, stride):
  for asked in [0.0, 0.9, 1.0, 2.7, 5.0, 19.99, 20.0, 1e9, float('inf')]:
    frames = frames_of(asked, fps, stride)
    assert frames % stride == 1 % stride
    assert round(fps) <= frames <= round(20 * fps)
    if 1.5 <= asked <= 20:
      assert abs(frames - asked * fps) <= stride


def test_bounds_without_a_number_of_frames_give_the_nearest():
  assert frames_of(1.0, 24.0, 8, 1.0, 1.02) == 25
  assert frames_of(1.0, 20.0, 8, 1.0, 1.02) == 17


def saved() -> dict[str, np.ndarray]:
  """The tensors as diffusers names them."""
  D, two = 8, {'weight': (8, 8), 'bias': (8,)}
  shapes = {'attention_pooler.query_tokens': (2, D)}
  shapes |= {
    f'attention_pooler.to_{x}.{n}': s for x in ('q', 'k', 'v', 'out') for n, s in two.items()
  }
  for m, width in SMALL.streams.items():
    shapes |= {f'{m}_input_proj.weight': (D, width), f'{m}_input_proj.bias': (D,)}
    shapes[f'{m}_modality_emb'] = (D,)
  shapes |= {'mlp_hidden.weight': (6, 16), 'mlp_hidden.bias': (6,)}
  shapes |= {'mlp_out.weight': (1, 6), 'mlp_out.bias': (1,)}
  return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


SIZES = {
  'audio_cross_attention_dim': 3, 'video_cross_attention_dim': 5, 'pooler_hidden_dim': 8,
  'num_queries': 2, 'num_pooler_heads': 2, 'mlp_hidden_dim': 6,
}  # fmt: skip


def tensors_of(arrays: dict[str, np.ndarray]) -> list[Stored]:
  return [Stored(n, 'F32', x.shape, lambda x=x: x) for n, x in arrays.items()]


def test_a_release_without_a_part_of_the_head_is_refused():
  part = Part(SIZES, tensors_of(saved()))
  rest = ltx2_duration.rest_of(part)
  assert len(rest) == 15 and ltx2_duration.part_of([]) is None
  lacks = lambda name: [t for t in rest if not t.name.endswith(name)]
  with refused("the duration head lacks 'mlp_hidden.weight'; give that of its release"):
    ltx2_duration.part_of(lacks('mlp_hidden.weight'))
  with refused('is not that of a release: 3 missing .attention_pooler.to_k.bias, .*; download'):
    ltx2_duration.part_of(lacks('in_proj_bias'))
  with refused('duration_head is not as its config.json says: 1 missing .mlp_out.bias.'):
    ltx2_duration.rest_of(Part(part.config, [t for t in part.tensors if t.name != 'mlp_out.bias']))


def test_tensors_that_do_not_fit_are_listed():
  ltx2_duration.params_of(SMALL, saved())
  wrong = {**saved(), 'more': np.ones(1), 'mlp_out.weight': np.ones((6, 1))}
  del wrong['audio_modality_emb']
  with refused('1 missing .audio_modality_emb.; 1 unknown .more.; 1 misshaped .mlp_out.weight of'):
    ltx2_duration.params_of(SMALL, wrong)
  with refused('the duration head cannot be built here: 256 channels do not divide over 3 heads'):
    ltx2_duration.config_of({'num_pooler_heads': 3})
