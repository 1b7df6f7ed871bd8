"""HDF5 files of sequences and codes: read in bounded memory, written whole or not at all, resumable."""
