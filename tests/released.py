"""The released LTX-2 transformers, as their config.json tells them from diffusers' defaults."""

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
