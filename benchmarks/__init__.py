"""Side-by-side figures: one gateway node against other proxies, same machine, same run."""
