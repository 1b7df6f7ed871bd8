"""What a classifier trained on labels sees in decoded sequences."""
