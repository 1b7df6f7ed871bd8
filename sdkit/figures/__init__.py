"""Pictures: grids and animations of sequences, curves. Pillow and matplotlib are imported by what needs them."""
