"""Latent upsamplers against diffusers' LTX2LatentUpsamplerModel on the same random weights."""

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import refused

from sorajax.codec import plain
from sorajax.codec.upsampler import Upsampler
from sorajax.weights import ltx2_upsampler

pytestmark = pytest.mark.parity
REASON = "needs pip install 'sorajax[parity]'"
torch = pytest.importorskip('torch', reason=REASON)
pytest.importorskip('diffusers', reason=REASON)

KINDS = {
  'larger': {},
  'larger by 3/2': {'rational_spatial_scale': 1.5},
  'four times as large': {'rational_spatial_scale': 4.0},
  'smaller': {'rational_spatial_scale': 0.75},
  'larger, as the first ones': {'use_rational_resampler': False},
  'more frames': {'spatial_upsample': False, 'temporal_upsample': True},
  'both': {'temporal_upsample': True},
  'each frame alone': {'dims': 2},
}


def both(options: dict, seed: int = 0):
  """The reference, its config and its tensors."""
  from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

  torch.manual_seed(seed)
  small = {'in_channels': 5, 'mid_channels': 64, 'num_blocks_per_stage': 2}
  reference = LTX2LatentUpsamplerModel(**{**small, **options}).eval()
  for name, p in reference.named_parameters():
    torch.nn.init.normal_(p, std=0.3 if p.ndim == 1 else p[0].numel() ** -0.5)
    if 'norm' in name and name.endswith('weight'):
      p.data += 1
  tensors = {name: t.detach().numpy() for name, t in reference.state_dict().items()}
  return reference, ltx2_upsampler.config_of(reference.config), tensors


@pytest.mark.parametrize('kind', KINDS)
def test_it_is_that_of_diffusers(kind):
  reference, config, tensors = both(KINDS[kind])
  x = np.random.default_rng(1).standard_normal((2, 3, 8, 4, 5)).astype(np.float32)
  with torch.no_grad():
    theirs = reference(torch.from_numpy(x.transpose(0, 4, 1, 2, 3))).numpy()
  theirs = theirs.transpose(0, 2, 3, 4, 1)
  params = ltx2_upsampler.params_of(config, tensors)
  ours = np.asarray(plain.joined(Upsampler, config, params)(jnp.asarray(x)))
  assert ours.shape == theirs.shape
  assert config.before(ours.shape[1:4]) == x.shape[1:4]
  assert np.linalg.norm(ours - theirs) <= 1e-5 * np.linalg.norm(theirs)


def test_tensors_that_do_not_fit_are_listed():
  _, config, tensors = both({})
  taken = tensors.pop('final_conv.bias')
  with refused(r'1 missing \(final_conv.bias\)'):
    ltx2_upsampler.params_of(config, tensors)
  with refused(r'1 misshaped \(final_conv.bias of \(4,\) instead of \(5,\)\)'):
    ltx2_upsampler.params_of(config, {**tensors, 'final_conv.bias': taken[:4]})
  _, other, _ = both({'dims': 2})
  with refused('the config they were saved with'):
    ltx2_upsampler.params_of(other, {**tensors, 'final_conv.bias': taken})
