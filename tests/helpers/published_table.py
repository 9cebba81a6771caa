"""A table of published results with two rows, as a file in TOML."""

TABLE = """
title = "Two rows"
dataset = "digits"

[[row]]
name = "near"
title = "neighbours"
published = 5.0
source = "Somebody 1999"
model = "knn"
params = { n_neighbors = 1 }

[[row]]
name = "far"
title = "a line, upright"
published = 0.01
source = "Nobody"
model = "logistic"
preprocess = "deskew"
seconds = 7
"""
