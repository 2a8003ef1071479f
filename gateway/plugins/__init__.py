"""Plugins: what they must declare, and which of them this node has."""
