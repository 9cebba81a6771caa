"""The commands as functions of a notebook: see `zoo.notebook.functions`."""
