"""The same work through Zoo and its peers: a module each, run by benchmarks/peers.py."""
