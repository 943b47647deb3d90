"""The released LTX-2 transformers, as their config.json tells them from diffusers' defaults."""

import ml_dtypes
import numpy as np

from sorajax.weights import ltx2_parts, ltx2_released

VERSIONS: dict[str, dict] = {'2.0': {'rope_type': 'split'}}
VERSIONS['2.3'] = {
  'rope_type': 'split', 'gated_attn': True, 'audio_gated_attn': True, 'cross_attn_mod': True,
  'audio_cross_attn_mod': True, 'use_prompt_embeddings': False, 'perturbed_attn': True,
}  # fmt: skip
VERSIONS['2.5'] = {**VERSIONS['2.3'], 'ff_bias': False, 'use_keyframes_abs_pos_embedding': True}
PARAMETERS = {'2.0': 18_876_174_592, '2.3': 18_988_838_144, '2.5': 18_987_859_200}

SMALL = {
  'in_channels': 3, 'out_channels': 3, 'audio_in_channels': 2, 'audio_out_channels': 2,
  'num_attention_heads': 3, 'attention_head_dim': 6, 'cross_attention_dim': 18,
  'audio_num_attention_heads': 3, 'audio_attention_head_dim': 4, 'audio_cross_attention_dim': 12,
  'num_layers': 2, 'caption_channels': 7,
}  # fmt: skip


def small_configs(version: str) -> dict[str, dict]:
  """The config.json files of a small model with the blocks and options of a release, by part."""
  configs = ltx2_released.configs_of(version)
  first = version == '2.0'
  configs['transformer'] |= {**VERSIONS[version], **SMALL}
  heads = {'connector_num_attention_heads': 2, 'connector_attention_head_dim': 4,
           'connector_num_layers': 1, 'connector_num_learnable_registers': 3}  # fmt: skip
  configs['connectors'] |= {
    'caption_channels': 8, 'text_proj_in_factor': 4, 'video_hidden_dim': 8, 'audio_hidden_dim': 8,
    **{f'{m}_{name}': value for m in ('audio', 'video') for name, value in heads.items()},
  }  # fmt: skip
  configs['vae'] |= {
    'latent_channels': 6, 'block_out_channels': [4, 8, 16, 32 if first else 16], 'patch_size': 2,
    'decoder_block_out_channels': [8, 16, 32] if first else [4, 8, 8, 16],
    'layers_per_block': [1, 2, 1, 1, 2],
    'decoder_layers_per_block': [1, 2, 1, 1] if first else [1, 2, 1, 1, 2],
  }  # fmt: skip
  configs['audio_vae'] |= {'base_channels': 8, 'num_res_blocks': 1, 'latent_channels': 2}
  configs['audio_vae'] |= {'mel_bins': 16, 'resolution': 16}
  configs['vocoder'] |= {'in_channels': 4, 'hidden_channels': 64, 'resnet_kernel_sizes': [3, 5]}
  configs['vocoder'] |= {'resnet_dilations': [[1, 3], [1, 2]]}
  if not first:
    configs['vocoder'] |= {'bwe_in_channels': 4, 'bwe_hidden_channels': 32, 'filter_length': 16}
    configs['vocoder'] |= {'window_length': 16, 'num_mel_channels': 2}
  return configs


def drawn(configs: dict[str, dict], seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
  """Part → tensors of noise by diffusers' names; those of the autoencoders in half precision."""
  rng = np.random.default_rng(seed)
  half = lambda part: ml_dtypes.bfloat16 if part.endswith('vae') else np.float32
  return {
    part: {
      name: rng.standard_normal(shape).astype(half(part))
      for name, shape in ltx2_parts.shapes_of(part, config).items()
    }
    for part, config in configs.items()
  }
