"""Zoo against today's way, side by side in one run, with the results compared."""
