"""Search space, samplers, plan, trials and driver of a sweep."""
