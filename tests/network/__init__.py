"""Tests of whole networks: every node its own process, driven through command line and RPC alone."""
