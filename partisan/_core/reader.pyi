"""The reading end of the codec: C functions only."""
