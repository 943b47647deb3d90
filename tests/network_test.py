import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sorajax.clip import MODALITIES
from sorajax.flow import path
from sorajax.network import Network
from sorajax.text.small import SmallEncoder

CONFIG = tiny.transformer(layers=1, text_width=32)
SPREAD = {'video': (0.3, 1.0, 2.0, 0.5, 0.1), 'audio': (1.5, 0.2, 1.0)}
NETWORK = Network(CONFIG, SmallEncoder(32, 1, 8), SPREAD)
PLAIN = dataclasses.replace(NETWORK, spread={})
ROWS = ([1, 2], [3])


@functools.cache
@tiny.initialised_by_waves
def params():
  return jax.device_get(tiny.quick_jit(NETWORK.init)(jax.random.key(0)))


@functools.cache
def trained():
  return tiny.noisy(lambda: NETWORK.init(jax.random.key(0)))


def tokens():
  """Two rows with given tokens, whose level is 0, and a clip of pure noise."""
  made, _ = tiny.pack(ROWS)
  some = {m: np.where(np.arange(t.sigma.shape[1]) % 3 == 0, 0, t.sigma) for m, t in made.items()}
  some = {m: np.where(made[m].segment == 2, 1, s).astype(np.float32) for m, s in some.items()}
  return {m: t.replace(sigma=some[m]) for m, t in made.items()}


@functools.partial(tiny.quick_jit, static_argnums=0)
def velocity(network, params, tokens, text):
  return network.velocity(params, tokens, network.read(params, text))


def test_an_untrained_network_answers_the_linear_guess():
  made = tokens()
  out = velocity(NETWORK, params(), made, tiny.text_ids(2))
  for m in MODALITIES:
    slope = path.linear_guess(made[m].sigma, jnp.array(SPREAD[m]))[1]
    np.testing.assert_allclose(out[m], slope * made[m].latent, rtol=1e-5)


def test_an_untrained_network_without_spread_answers_zero():
  out = velocity(PLAIN, params(), tokens(), tiny.text_ids(2))
  assert all((v == 0).all() for v in out.values())


def test_the_answer_corrects_the_guess_by_what_it_misses():
  """With one and the same input to the transformer, its answer is scaled by the missing spread."""
  made, weights, text = tokens(), trained(), tiny.text_ids(2)
  guess = {m: path.linear_guess(made[m].sigma, jnp.array(SPREAD[m])) for m in made}
  white = {m: t.replace(latent=np.asarray(guess[m][0] * t.latent)) for m, t in made.items()}
  plain = velocity(PLAIN, weights, white, text)
  out = velocity(NETWORK, weights, made, text)
  for m in MODALITIES:
    wanted = guess[m][1] * made[m].latent + guess[m][2] * plain[m]
    np.testing.assert_allclose(out[m], wanted, rtol=1e-4, atol=1e-4)
    assert np.abs(plain[m]).max() > 0.1


@pytest.mark.parametrize('size', [0.0, 1.0, 100.0])
def test_given_tokens_of_any_size_leave_the_answer_finite(size):
  made = {m: t.replace(latent=size * t.latent) for m, t in tokens().items()}
  out = velocity(NETWORK, trained(), made, tiny.text_ids(2))
  assert all(np.isfinite(v).all() for v in out.values())


def test_a_trainable_encoder_is_trained_and_nothing_is_frozen():
  assert set(params()) == {'transformer', 'text'} and NETWORK.frozen() == {}


def test_captions_of_the_encoder_see_themselves_alone():
  text = tiny.text_ids(2)
  other = dataclasses.replace(text, ids=np.where(text.segment == 1, text.ids, 5))
  hidden = [np.asarray(NETWORK.read(params(), t).hidden) for t in (text, other)]
  first = text.segment == 1
  np.testing.assert_array_equal(hidden[0][first], hidden[1][first])
  assert (hidden[0] != hidden[1]).any(axis=-1)[text.segment == 2].any()


def test_equal_networks_share_what_is_compiled_for_them():
  again = Network(tiny.transformer(layers=1, text_width=32), SmallEncoder(32, 1, 8), dict(SPREAD))
  assert again == NETWORK and hash(again) == hash(NETWORK) and PLAIN != NETWORK
