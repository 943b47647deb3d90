"""LTX-2.5's duration head against diffusers, on the same weights."""

import jax
import numpy as np
import pytest

from sorajax.codec import plain
from sorajax.text.duration import Duration, DurationConfig, frames_of
from sorajax.weights import ltx2_duration
from sorajax.weights.shards import Shards
from sorajax.weights.stored import Stored

pytestmark = pytest.mark.parity
REASON = "needs pip install 'sorajax[parity]'"
torch = pytest.importorskip('torch', reason=REASON)
theirs = pytest.importorskip('diffusers.pipelines.ltx2.duration_head', reason=REASON)


@pytest.mark.parametrize('seed', range(4))
def test_seconds_from_a_saved_folder(tmp_path, seed):
  rng = np.random.default_rng(seed)
  draw = lambda low, high: int(rng.integers(low, high + 1))
  heads = draw(1, 4)
  model = theirs.LTX2DurationHead(
    video_cross_attention_dim=draw(5, 20), audio_cross_attention_dim=draw(5, 20),
    pooler_hidden_dim=heads * draw(2, 6), num_queries=draw(1, 3), num_pooler_heads=heads,
    mlp_hidden_dim=draw(4, 12),
  )  # fmt: skip
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for p in model.parameters():
      p.copy_(p.shape[-1] ** -0.5 * torch.randn(p.shape, generator=generator))
  model.save_pretrained(tmp_path)
  saved = Shards(tmp_path)
  config = ltx2_duration.config_of(saved.config())
  params = ltx2_duration.params_of(config, saved)
  text = {m: rng.standard_normal((3, 9, n)).astype(np.float32) for m, n in config.streams.items()}
  with torch.no_grad():
    wanted = model(*(torch.from_numpy(text[m]) for m in ('video', 'audio'))).numpy()
  run = jax.jit(plain.joined(Duration, config, params))
  made = run(np.concatenate([text['audio'], text['video']], axis=-1))
  np.testing.assert_allclose(made, wanted, rtol=1e-5)


def test_the_full_size_is_the_default_one():
  with torch.device('meta'):
    model = theirs.LTX2DurationHead()
  assert ltx2_duration.config_of(model.config) == ltx2_duration.config_of({}) == DurationConfig()
  leaves = jax.tree.leaves(plain.shapes(Duration, DurationConfig()))
  assert sum(leaf.size for leaf in leaves) == sum(p.numel() for p in model.parameters())


def test_frames_within_bounds_drawn_at_random():
  """Exactly theirs, also where no number of frames is within the bounds."""

  class Says(theirs.LTX2DurationHead):
    def forward(self, video_tokens=None, audio_tokens=None):
      return torch.tensor([self.said], dtype=torch.float64)

  model, rng = Says(1, 1, 1, 1, 1, 1), np.random.default_rng(0)
  for _ in range(3000):
    fps, stride = float(rng.choice([8, 12.5, 24, 25, 30, 60])), int(rng.choice([1, 2, 4, 8]))
    shortest = rng.uniform(0.0, 3.0)
    longest = shortest + rng.choice([0.01, 0.1, 1.0, 20.0]) * rng.uniform(0.1, 1.0)
    model.said = seconds = float(np.exp(rng.uniform(-3, 4)))
    wanted = model.predict_num_frames(
      frame_rate=fps, temporal_compression_ratio=stride, min_seconds=shortest, max_seconds=longest
    )
    assert frames_of(seconds, fps, stride, shortest, longest) == wanted


@pytest.mark.parametrize('queries', [1, 2])
def test_a_release_is_read_with_queries_keys_and_values_in_one(queries):
  """Where torch's own attention over the packed tensor gives what diffusers' gives over three."""
  packed = torch.nn.MultiheadAttention(8, 4, batch_first=True)
  model = theirs.LTX2DurationHead(5, 3, 8, queries, 4, 6)
  own = {n: t for n, t in model.state_dict().items() if '.to_' not in n}
  own |= {f'attention_pooler.cross_attn.{n}': t for n, t in packed.state_dict().items()}
  released = [
    Stored(f'duration_head.{n}', 'F32', tuple(t.shape), lambda t=t: t.detach().numpy())
    for n, t in own.items()
  ]
  part = ltx2_duration.part_of([*released, Stored('vae.other', 'F32', (), lambda: np.zeros(()))])
  assert {n: x for n, x in part.config.items() if n[0] != '_'} == {
    n: x for n, x in model.config.items() if n[0] != '_'
  }
  model.load_state_dict({t.name: torch.from_numpy(t.read()) for t in part.tensors})
  tokens = torch.randn(2, 7, 8)
  asked = own['attention_pooler.query_tokens'].expand(2, -1, -1)
  wanted = packed(asked, tokens, tokens, need_weights=False)[0]
  torch.testing.assert_close(model.attention_pooler(tokens), wanted, rtol=1e-5, atol=1e-6)
  again = {t.name: t for t in ltx2_duration.rest_of(part)}
  assert sorted(again) == sorted(t.name for t in released)
  for tensor in released:
    assert again[tensor.name].shape == tensor.shape
    np.testing.assert_array_equal(again[tensor.name].read(), tensor.read())
