"""What the tests share: servers, browsers, the real command line, rows and files by hand."""
