"""Tasks on top of the codes: classification, regression, detection, speaker verification."""
