"""A local web page: jobs as they run, the leaderboard, and a canvas to draw a digit on."""
