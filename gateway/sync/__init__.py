"""How a node learns that there is a newer version, and gets it: strategies and the loop."""
