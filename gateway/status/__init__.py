"""The status listener: is this node alive, is it ready, and what does it count."""
