"""Find, import, guard and describe plugins."""
