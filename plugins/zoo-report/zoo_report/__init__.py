"""Pictures and reports of jobs: learning curves, confusion matrices, mistakes, a page in one file."""
