"""A config.json of another model, or a damaged one, is refused in a line that names it."""

import pytest
from released import SMALL_ONE_STEP, small_configs
from tiny import refused

from sorajax.weights import (
  ltx2_audio,
  ltx2_connectors,
  ltx2_duration,
  ltx2_one_step,
  ltx2_transformer,
  ltx2_upsampler,
  ltx2_video,
)
from sorajax.weights.gemma import config_of as gemma_of
from sorajax.weights.shards import NAMES, Shards, read_json

CONFIGS = small_configs('2.3')
UPSAMPLER = {
  'in_channels': 3, 'mid_channels': 32, 'num_blocks_per_stage': 1, 'dims': 3,
  'spatial_upsample': True, 'temporal_upsample': False, 'use_rational_resampler': False,
}  # fmt: skip
WHOLE = {
  'the autoencoder': (ltx2_video.config_of, CONFIGS['vae']),
  'the audio autoencoder': (ltx2_audio.autoencoder_config_of, CONFIGS['audio_vae']),
  'the vocoder': (ltx2_audio.vocoder_config_of, CONFIGS['vocoder']),
  'the one-step decoder': (ltx2_one_step.config_of, SMALL_ONE_STEP),
  'the latent upsampler': (ltx2_upsampler.config_of, UPSAMPLER),
}
LISTS = {
  **WHOLE, 'the text encoder': (gemma_of, {}), 'the transformer': (ltx2_transformer.config_of, {}),
  'the connectors': (ltx2_connectors.config_of, {}),
  'the duration head': (ltx2_duration.config_of, {}),
}  # fmt: skip
each_part = lambda parts: pytest.mark.parametrize(
  ('what', 'config_of', 'saved'), [(name, *part) for name, part in parts.items()], ids=[*parts]
)


@each_part(WHOLE)
def test_every_option_that_is_missing_is_named(what, config_of, saved):
  config_of(saved)
  needed = 0
  for name in saved:
    rest = {n: value for n, value in saved.items() if n != name}
    try:
      config_of(rest)
    except Exception:
      needed += 1
      with refused(f"^the config.json of {what} lacks '.*{name.removeprefix('bwe_')}'; give that"):
        config_of(rest)
  assert needed > 4


@each_part(LISTS)
def test_what_is_no_object_is_refused(what, config_of, saved):
  with refused(f'^{what} cannot be built here: .*; give the config.json of its release'):
    config_of([1])


@pytest.mark.parametrize(
  ('what', 'change', 'message'),
  [
    ('the autoencoder', {'layers_per_block': None}, 'the autoencoder cannot be built here'),
    ('the autoencoder', {'decoder_spatial_padding_mode': 'circular'}, "padded by 'circular'; know"),
    ('the vocoder', {'bwe_act_fn': 'gelu'}, "bwe_act_fn is 'gelu'; known"),
    ('the latent upsampler', {'mid_channels': '32'}, 'the latent upsampler cannot be built here'),
  ],
)
def test_an_option_of_another_kind_is_refused(what, change, message):
  config_of, saved = WHOLE[what]
  with refused(message):
    config_of({**saved, **change})


@pytest.mark.parametrize('text', ['[1]', '"a"', 'null', '3'])
def test_json_that_is_no_object_is_refused(text, tmp_path):
  (tmp_path / 'config.json').write_text(text)
  with refused(f'cannot read {tmp_path}/config.json: it holds a .* where an object is expected'):
    read_json(tmp_path / 'config.json')


@pytest.mark.parametrize('text', ['{}', '{"weight_map": null}', '{"weight_map": {"x": 3}}'])
def test_an_index_that_names_no_files_is_refused(text, tmp_path):
  (tmp_path / f'{NAMES[1]}.index.json').write_text(text)
  with refused('cannot read .*index.json: its weight_map names no files; download'):
    Shards(tmp_path)
