"""The writing end of the codec: C functions only."""
