"""Readers: files of people, in the formats that they have, to inputs and labels."""
