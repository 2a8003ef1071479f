"""The page at ``/docs``: the Admin API for people, in one answer that asks no other host."""
