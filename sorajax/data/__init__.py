"""From films on disk to batches of clean tokens."""
