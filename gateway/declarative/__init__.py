"""Declarative files: the whole configuration as one YAML or JSON text.

From text to document (`reading`), to checked entities (`checking`), to what must change in the
database (`plan`), and from rows back to a document (`export`). Only `work` and `process` do I/O.
Format: reference sheet decl-config.md.
"""
