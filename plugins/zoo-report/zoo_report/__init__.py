"""Pictures and reports: learning curves, confusion matrices, mistakes, a page in one file."""
