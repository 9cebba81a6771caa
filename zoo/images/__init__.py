"""Outside pictures become inputs; arrays become pictures."""
