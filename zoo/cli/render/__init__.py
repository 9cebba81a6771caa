"""Output for the terminal: tables, progress, charts and the dashboard."""
