"""What the codes themselves say: consistency, leakage, DCI."""
