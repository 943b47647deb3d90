import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sorajax import sharding
from sorajax.clip import Tokens
from sorajax.flow import sample, solver
from sorajax.generate import sampling
from sorajax.network import Network
from sorajax.settings import SampleConfig
from sorajax.text.small import SmallEncoder

SCALES = lambda scale: {'video': scale, 'audio': 1.0}
LEVELS = (1.0, 0.8, 0.5, 0.2, 0.0)
PLAIN = SampleConfig(1.0, 8.0, 8, 8, levels=LEVELS, guidance=SCALES(1.0), solver='euler')
GUIDED = dataclasses.replace(PLAIN, guidance=SCALES(3.0), modality_guidance=SCALES(2.0))


NETWORK = Network(tiny.transformer(text_width=16), SmallEncoder(16, 1, 8), {})


@pytest.mark.parametrize('wait', [0, 3])
@pytest.mark.parametrize('name', solver.SOLVERS)
def test_evaluations_are_those_of_a_run(name, wait):
  """Counted where the solver asks for v while it runs."""
  asked, config = [], dataclasses.replace(PLAIN, solver=name, wait={'video': 0, 'audio': wait})

  def velocity(x, t):
    jax.debug.callback(lambda: asked.append(1))
    return x

  times = sampling.times(config, 0.0)
  start = {m: jnp.ones(()) for m in times}
  jax.block_until_ready(sample.sample(velocity, start, times, solver.SOLVERS[name]))
  jax.effects_barrier()
  ((_, count),) = sampling.evaluations(config, 0.0)
  assert count == len(asked) > 0


@pytest.mark.parametrize('name, count', [('euler', 2), ('heun', 4)])
def test_guidance_adds_passes_within_its_interval_alone(name, count):
  """Heun asks at 0.8 and 0.5 twice, as the end of a step and as the beginning of the next."""
  config = dataclasses.replace(GUIDED, solver=name, interval=(0.3, 0.9))
  (plain, _), *weaker = sampling.evaluations(config, 0.0)
  assert plain.prompted and plain.joined and not plain.away_from
  assert [n for _, n in weaker] == [count] * 2


def test_each_pass_leaves_out_one_thing():
  config = dataclasses.replace(GUIDED, skip_guidance=SCALES(0.5), skip_layers=(3,))
  _, blank, apart, skipping = sampling.passes(config)
  assert (blank.prompted, blank.joined, blank.skip_layers) == (False, True, ())
  assert (apart.prompted, apart.joined, apart.skip_layers) == (True, False, ())
  assert (skipping.prompted, skipping.joined, skipping.skip_layers) == (True, True, (3,))
  pushes = [dict(p.push)['video'] for p in (blank, apart, skipping)]
  assert pushes == [2.0, 1.0, 0.5] and dict(blank.push)['audio'] == 0.0
  assert not any(p.joined for p in sampling.passes(config, joined=False))
  assert len(sampling.passes(config, joined=False)) == 3  # nothing to push streams apart from


def test_levels_of_the_config_take_the_place_of_steps():
  for of_stream in sampling.times(PLAIN, 2.0).values():
    np.testing.assert_array_equal(of_stream, np.float32(LEVELS))
  assert len(sampling.times(dataclasses.replace(PLAIN, levels=(), steps=7), 2.0)['video']) == 8


def test_a_stream_that_waits_goes_through_the_same_levels_later():
  config = dataclasses.replace(PLAIN, wait={'video': 1, 'audio': 3})
  video, audio = (sampling.times(config, 2.0)[m] for m in ('video', 'audio'))
  np.testing.assert_array_equal(video, np.float32([1, *LEVELS, 0, 0]))
  np.testing.assert_array_equal(audio, np.float32([1, 1, 1, *LEVELS]))


@pytest.mark.parametrize(
  'begins, video, audio',
  [
    ({'video': 0.6}, [0.6, 0.6, 0.6, 0.5, 0.2, 0, 0], [1, 1, 1, 0.8, 0.5, 0.2, 0]),
    ({'video': 0.5, 'audio': 0.6}, [0.5, 0.5, 0.5, 0.2, 0, 0], [0.6, 0.6, 0.6, 0.5, 0.2, 0]),
  ],
)
def test_streams_that_begin_with_less_noise_meet_the_others_at_their_level(begins, video, audio):
  config = dataclasses.replace(PLAIN, wait={'video': 1, 'audio': 2})
  found = sampling.times(config, 2.0, tuple(begins.items()))
  np.testing.assert_array_equal(found['video'], np.float32(video))
  np.testing.assert_array_equal(found['audio'], np.float32(audio))


def test_a_remix_is_the_further_from_its_source_the_stronger_it_is():
  tokens, far = noised(), {m: [] for m in PLAIN.wait}
  for level in (1e-6, 0.3, 0.6, 0.9):
    config = dataclasses.replace(PLAIN, levels=(), steps=8)
    x = made(config, joined=True, tokens=tokens, begins=(('video', level), ('audio', level)))
    for m, distances in far.items():
      distances.append(np.sqrt(np.square(x[m] - tokens[m].latent).mean()))
  for distances in far.values():
    assert distances[0] < 1e-4 and distances == sorted(distances) and distances[-1] > 0.5


def test_a_stream_without_a_source_begins_with_the_noise_that_it_always_begins_with():
  tokens, seeds = noised(), np.arange(2, dtype=np.uint32)
  plain = sampling.begin(tokens, seeds)
  begun = sampling.begin(tokens, seeds, {'video': 0.5, 'audio': 1.0})
  np.testing.assert_array_equal(begun['audio'], plain['audio'])
  assert np.abs(begun['video'] - plain['video']).max() > 0.1


WAIT = {'video': 0, 'audio': 3}


@pytest.mark.parametrize('name', solver.SOLVERS)
def test_waiting_matters_nothing_to_streams_that_do_not_hear_each_other(name):
  plain = dataclasses.replace(PLAIN, solver=name, guidance=SCALES(2.0))
  apart, waiting = (
    made(config, joined=False) for config in (plain, dataclasses.replace(plain, wait=WAIT))
  )
  for m in WAIT:
    np.testing.assert_allclose(waiting[m], apart[m], atol=1e-5)


def test_waiting_matters_to_streams_that_hear_each_other():
  plain = dataclasses.replace(PLAIN, guidance=SCALES(2.0))
  together, waiting = (
    made(config, joined=True) for config in (plain, dataclasses.replace(plain, wait=WAIT))
  )
  for m in WAIT:
    assert np.abs(waiting[m] - together[m]).max() > 0.01


def test_what_is_given_stays_as_it_is():
  """To the last bit, however the rest is guided, and at level 0 too, which Heun asks for."""
  config = dataclasses.replace(
    GUIDED, solver='heun', skip_guidance=SCALES(0.5), skip_layers=(0,), rescale=0.7
  )
  tokens = noised(given=lambda t: np.arange(t.segment.shape[1]) % 2)
  for m, x in made(config, joined=True, tokens=tokens).items():
    given = (tokens[m].sigma == 0)[..., None]
    np.testing.assert_array_equal(np.where(given, x, 0), np.where(given, tokens[m].latent, 0))
    assert (x != tokens[m].latent)[np.broadcast_to(~given, x.shape)].all()


@pytest.mark.parametrize('name', ['euler', 'heun'])
def test_what_is_given_is_the_nearer_the_firmer_it_is_held(name):
  """And neither is Heun's slope at level 0, where nothing draws any more, out of bounds."""
  config = dataclasses.replace(PLAIN, solver=name, guidance=SCALES(2.0), levels=(), steps=8)
  given, far = lambda t: np.arange(t.segment.shape[1]) % 2, {m: [] for m in PLAIN.wait}
  free, whole = noised(), noised(given)
  for hold in (1 - 1e-6, 0.9, 0.6, 0.3):
    tokens = {
      m: t.replace(sigma=np.maximum(t.sigma, (1 - hold) * free[m].sigma)) for m, t in whole.items()
    }
    x = made(config, joined=True, tokens=tokens, held=True)
    for m, distances in far.items():
      of_given = free[m].sigma > whole[m].sigma
      distances.append(np.sqrt(np.square(x[m] - tokens[m].latent)[of_given].mean()))
  for distances in far.values():
    assert distances[0] < 1e-4 and distances == sorted(distances) and distances[-1] > 0.1


def test_a_step_mixes_what_it_makes_of_tokens_that_are_held_with_what_was_given():
  """In one step from noise to nothing: (1 - hold) of the clean token, hold of the given one."""
  config, hold = dataclasses.replace(PLAIN, levels=(1.0, 0.0)), 0.6
  share, params = np.float32(1 - hold), tiny.noisy(lambda: NETWORK.init(jax.random.key(0)))
  tokens = {m: t.replace(sigma=share * t.sigma, levels=None) for m, t in noised().items()}
  start, text = sampling.begin(tokens, np.arange(2, dtype=np.uint32)), tiny.text_ids(2)
  now = {m: t.replace(latent=start[m]) for m, t in tokens.items()}
  v = NETWORK.velocity(params, now, NETWORK.read(params, text))
  for m, x in made(config, joined=True, tokens=tokens, held=True).items():
    clean = start[m] - share * v[m]
    real = tokens[m].segment > 0
    wanted = share * clean + (1 - share) * tokens[m].latent
    np.testing.assert_allclose(x[real], wanted[real], atol=1e-4)


@pytest.mark.parametrize('given', ['audio', 'video'])
def test_nothing_waits_for_a_stream_that_is_given_nor_guides_it(given):
  config = dataclasses.replace(
    GUIDED,
    wait={'video': 0, 'audio': 2},
    skip_guidance={'video': 0.5, 'audio': 0.0},
    skip_layers=(0,),
  )
  shorter = sampling.without(config, {given})
  tokens = noised()
  tokens[given] = tokens[given].replace(sigma=0 * tokens[given].sigma)
  asked = [{one.away_from: n for one, n in sampling.evaluations(c, 0.0)} for c in (config, shorter)]
  assert max(asked[1].values()) == 4 < max(asked[0].values()) == 6
  assert ('skipped layers' in asked[1]) == (given == 'audio')
  long, short = (made(c, joined=True, tokens=tokens) for c in (config, shorter))
  for m in long:
    np.testing.assert_allclose(short[m], long[m], atol=1e-5)


def noised(given=lambda t: 0 * t.segment) -> dict[str, Tokens]:
  """Two rows of which nothing is given, or what `given` says."""
  tokens, _ = tiny.pack(([1], [2]))
  asked = lambda t: np.float32((t.segment > 0) & (given(t) == 0))
  return {m: t.replace(sigma=asked(t)) for m, t in tokens.items()}


def made(
  config: SampleConfig, joined: bool, tokens=None, begins: sampling.Begins = (), held: bool = False
) -> dict[str, np.ndarray]:
  """Latents of two rows of pure noise, by a network whose every path is open."""
  tokens = noised() if tokens is None else tokens
  params, text = tiny.noisy(lambda: NETWORK.init(jax.random.key(0))), tiny.text_ids(2)
  run = sampling.sampling(NETWORK, config, 0.0, joined, begins, held)
  return jax.device_get(run(params, tokens, text, text, np.arange(2, dtype=np.uint32)))


@pytest.mark.parametrize('wanted', range(1, 14))
def test_batches_are_as_large_as_the_mesh_needs_and_no_larger(wanted):
  rows = sampling.rows_over(sharding.abstract_mesh((2, 3, 2, 2)), wanted)
  assert rows == 6 * math.ceil(wanted / 6)
