"""Convert pictures to model inputs, and arrays to pictures."""
