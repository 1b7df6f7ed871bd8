"""The model: element encoders and decoders, static path, dynamic path, prior, objective, and its five graphs."""
