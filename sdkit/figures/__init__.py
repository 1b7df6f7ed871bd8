"""Pictures of sequences and swaps, codes, judgements and training; Pillow and matplotlib are imported where needed."""
