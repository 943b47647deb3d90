"""Noise levels of a sampling run against diffusers' scheduler, as its LTX-2 pipelines set it."""

import numpy as np
import pytest
from released import SMALL, VERSIONS

from sorajax.flow import levels
from sorajax.generate import released
from sorajax.weights import ltx2_transformer

pytestmark = pytest.mark.parity
REASON = "needs pip install 'sorajax[parity]'"
diffusers = pytest.importorskip('diffusers', reason=REASON)
pipeline = pytest.importorskip('diffusers.pipelines.ltx2.pipeline_ltx2', reason=REASON)


@pytest.mark.parametrize('steps', [2, 8, 30, 40])
@pytest.mark.parametrize('tokens', [512, 1024, 4096, 6144])
def test_levels_equal_the_reference(steps, tokens):
  """Up to sizes whose levels theirs, which stretches them in float32, still tells apart."""
  scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
    use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024,
    max_image_seq_len=4096, shift_terminal=0.1,
  )  # fmt: skip
  mu = pipeline.calculate_shift(tokens, 1024, 4096, 0.95, 2.05)
  scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
  assert levels.shift_of_length(tokens) == pytest.approx(mu, rel=1e-9)
  made = levels.times(steps, levels.shift_of_length(tokens), last=0.1)
  np.testing.assert_allclose(made, scheduler.sigmas.numpy(), atol=2e-6)


@pytest.mark.parametrize('shift', [1.0, 3.0])
def test_a_shift_that_is_the_same_for_all_lengths_equals_the_reference(tmp_path, shift):
  """As in the folders of distilled releases."""
  scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
    use_dynamic_shifting=False, shift=shift, shift_terminal=None
  )
  scheduler.save_pretrained(tmp_path / 'scheduler')
  config = released.sample_of(ltx2_transformer.config_of({**VERSIONS['2.3'], **SMALL}), tmp_path)
  scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / config.steps, config.steps))
  for tokens in (96, 6144):
    mu = levels.shift_of_length(tokens, config.shift[:2], config.shift[2:])
    made = levels.times(config.steps, mu, last=config.last)
    np.testing.assert_allclose(made, scheduler.sigmas.numpy(), atol=2e-6)
