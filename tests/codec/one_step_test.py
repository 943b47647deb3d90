import dataclasses
import itertools
import json
from pathlib import Path

import jax
import numpy as np
import one_steps
import pytest
import tiny
from one_steps import CONFIG, STEP, TILE
from programs import run
from tiny import refused

from sorajax.clip import Latents
from sorajax.codec import codec as codec_lib
from sorajax.codec import one_step, one_step_codec, plain, video
from sorajax.codec.codec import Codec
from sorajax.codec.one_step import OneStep, Stage

PROGRAM = Path(__file__).with_name('one_step_on_devices.py')
SIZE = (6, 4, 5)


@pytest.fixture(autouse=True, scope='module')
def unrounded():
  """Pixels as floats, so that little differences show; programs are compiled quickly, and once."""
  with pytest.MonkeyPatch.context() as patch:
    one_steps.prepare(patch.setattr)
    yield


def apart(made, wanted) -> float:
  assert made.shape == wanted.shape
  return np.abs(made - wanted).max() / np.abs(wanted).max()


def test_a_clip_that_fits_into_a_tile_is_decoded_whole():
  codec, latents = one_steps.codec(seed=4), one_steps.latents(*SIZE)
  made = codec.decode(latents)
  frames = CONFIG.geometry.pixel_frames(SIZE[0])
  assert made.shape == (frames, 32, 40, 3)
  noise = one_step_codec.noise(np.uint32(4), np.zeros(3, int), made.shape[:3], (32, 40))
  whole = jax.jit(lambda p, x, n: plain.joined(OneStep, CONFIG, p)(x, n))
  wanted = whole(codec.params, (latents * codec.scale + codec.mean)[None], noise[None])
  assert apart(made, wanted[0]) <= 1e-5


def test_the_same_seed_gives_the_same_pixels_and_another_others():
  latents = one_steps.latents(*SIZE)
  first, again, other = (one_steps.codec(seed=seed).decode(latents) for seed in (1, 1, 2))
  np.testing.assert_array_equal(first, again)
  assert apart(other, first) > 1e-3


def test_noise_of_a_tile_is_that_of_the_clip_there():
  drawn = lambda corner, size: np.asarray(
    one_step_codec.noise(np.uint32(1), np.array(corner), size, (9, 8))
  )
  whole = drawn((0, 0, 0), (6, 9, 8))
  np.testing.assert_array_equal(drawn((2, 3, 1), (3, 4, 5)), whole[2:5, 3:7, 1:6])
  assert abs(whole.mean()) < 0.15 and abs(whole.std() - 1) < 0.1  # 4 and 4 deviations


@pytest.mark.parametrize('cuts', [(1, 2, 3, 4, 5, 6, 7, 8), (5,)], ids=['ones', 'two pieces'])
def test_pieces_are_those_of_the_whole(cuts):
  """Cut anywhere, and put away between any two; a piece gives frames before the clip has ended."""
  codec, latents = one_steps.codec(tile=TILE, step=STEP), one_steps.latents(9, 3, 4)
  wanted, made, state = codec.decode(latents), [], codec.decoder().state()
  for piece in np.split(latents, cuts):
    decoder = codec.decoder()
    decoder.resume({name: np.array(array) for name, array in state.items()})
    made.append(decoder.push(piece))
    state = decoder.state()
  assert len(wanted) == 33 and sum(map(len, made)) > 0
  assert len(state['held']) < 9
  assert apart(np.concatenate([*made, decoder.finish()]), wanted) <= 1e-5


def test_features_of_some_frames_are_those_of_the_whole():
  """But for as many frames at either end as the config says."""
  config = dataclasses.replace(
    CONFIG, stages=(*CONFIG.stages[:1], Stage(8, 2, (4, 1, 1), (2, 1, 1)), CONFIG.stages[1])
  )
  latents = one_steps.latents(16, 3, 3)[None]
  params, still = one_steps.params(config), (np.zeros(3, 'f4'), np.ones(3, 'f4'))
  of = lambda x, ends: np.asarray(one_step_codec._features(config, params, still, x, ends=ends))
  whole, part, c = of(latents, True), of(latents[:, 3:15], False), config.coarse
  assert config.reach == 3 and c == 4
  inside = slice(3 * c, part.shape[1] - 3 * c)
  assert apart(part[:, inside], whole[:, 3 * c :][:, inside]) <= 1e-5
  assert apart(part, whole[:, 3 * c :][:, : part.shape[1]]) > 1e-3


def test_tiles_cover_every_place_and_none_is_too_small():
  for length in range(3, 40):
    for size, step in ((5, 3), (8, 8), (6, 1)):
      found = one_step_codec.spans(length, size, step, 3)
      assert found[0][0] == 0 and found[-1][1] == length
      assert all(end - begin >= 3 for begin, end in found)
      assert all(after[0] <= before[1] for before, after in itertools.pairwise(found))


def test_tiles_of_one_picture_fade_into_that_picture():
  picture = np.random.default_rng(0).standard_normal((2, 10, 12, 3)).astype(np.float32)
  axes = [one_step_codec.spans(10, 5, 3, 2), one_step_codec.spans(12, 6, 4, 2)]
  tiles = {
    (i, j): picture[:, slice(*y), slice(*x)]
    for i, y in enumerate(axes[0])
    for j, x in enumerate(axes[1])
  }
  made = one_step_codec.assembled(tiles, axes, [2, 2], [3, 4])
  np.testing.assert_allclose(made, picture, atol=1e-6)


@pytest.mark.long
def test_devices_share_tiles_and_change_nothing():
  found = json.loads(run(str(PROGRAM)))
  assert all(case['apart'] <= 1e-5 for case in found.values())
  assert [[d, 1] for d in range(4)] in found['rows']['held']
  assert found['moved']['first'] > 0


def test_it_comes_back_from_disk(tmp_path):
  made = one_steps.codec(seed=2, tile=TILE, step=STEP)
  weights = tiny.noisy(lambda: video.init(made.base.config, jax.random.key(0)))
  made = dataclasses.replace(made, base=dataclasses.replace(made.base, params=weights))
  saved = Codec(made, tiny.codec().audio)
  saved.save(tmp_path)
  again = codec_lib.load(tmp_path)
  assert again.fingerprint == saved.fingerprint and again.video.config == CONFIG
  latents = one_steps.latents(9, 3, 4)
  np.testing.assert_array_equal(again.video.decode(latents), made.decode(latents))


def test_a_config_comes_back_from_json():
  config = one_step.ltx25()
  assert one_step.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config
  assert config.geometry.stride == (8, 32, 32) and config.least == (3, 7, 7)


@pytest.mark.parametrize(
  ('size', 'message'),
  [
    ((1, 4, 5), 'a clip of 1 frames of 32×40 .* at least 5 frames of 24×16'),
    ((6, 2, 5), 'frames of 16×40 pixels is too small .* or add --decoder=convolutional'),
  ],
)
def test_clips_that_are_too_small_are_refused(size, message):
  with refused(message):
    one_steps.codec().decode(one_steps.latents(*size))
  clip = Latents(one_steps.latents(*size), np.zeros((0, 1), np.float32), 8.0, 0, 0)
  with refused(message):
    Codec(one_steps.codec(), tiny.codec().audio).check_size(clip)


def test_latents_of_the_smallest_size_are_decoded():
  assert one_steps.codec().decode(one_steps.latents(*CONFIG.least)).shape == (5, 24, 16, 3)


def test_latents_that_are_none_are_refused():
  codec, latents = one_steps.codec(), one_steps.latents(*SIZE)
  with refused(r'the latents are \(6, 4, 5, 2\) and the codec takes \[f, h, w, 3\]'):
    codec.decode(latents[..., :2])
  with refused('the latents hold 1 values of 360 that are not finite'):
    codec.decode(np.where(np.arange(360).reshape(latents.shape) == 7, np.nan, latents))
  decoder = codec.decoder()
  decoder.push(latents)
  with refused(r'latents of \(4, 4\) follow latents of \(4, 5\)'):
    decoder.push(latents[:, :, :4])


@pytest.mark.parametrize(
  'change', [{'tile': (8, 24, 24)}, {'tile': TILE, 'step': (16, 16, 16)}, {'step': (0, 8, 8)}]
)
def test_tiles_that_cannot_be_are_refused(change):
  with refused(r'they must overlap and be at least of \(6, 12, 12\)'):
    one_steps.codec(**change)


def test_a_decoder_of_other_latents_is_refused():
  other = dataclasses.replace(CONFIG, patch=4)
  with refused('give those of one release'):
    one_step_codec.OneStepCodec(one_steps.base(), other, {})


def test_a_device_that_is_full_is_told_in_one_line(monkeypatch):
  def full(*_, **__):
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: out of memory\nmore')

  monkeypatch.setattr(one_step_codec, '_pixels', full)
  with refused('a tile of 80 frames of 768×768 pixels does not fit into the memory of a device'):
    one_steps.codec().decode(one_steps.latents(*SIZE))


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'stages': ()}, 'there are no stages'),
    ({'head_dim': 12}, 'heads have 12 channels; give a multiple of 8'),
    ({'width': 12}, '12 channels do not divide into heads of 8'),
    ({'stages': (Stage(8, 1, (1, 1, 1), (3, 1, 1)),)}, r'frames grow by \[3\]'),
  ],
)
def test_a_decoder_that_cannot_be_is_refused(change, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(CONFIG, **change)
