"""`gateway up`: embedded PostgreSQL, N node processes and a demo upstream, watched as one."""
