"""Measurements of the codes themselves: consistency, leakage, DCI."""
