"""Film, images and sound on disk: the only package that imports the media libraries."""
