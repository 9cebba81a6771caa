"""The fixtures of all tests, those beside the plugins too."""

pytest_plugins = ["helpers.fixtures"]
