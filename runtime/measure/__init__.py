"""Measurements of a bundle: rates, latency, memory, start-up, time by operator."""
