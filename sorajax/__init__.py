"""Joint video-and-audio diffusion transformers in JAX."""
