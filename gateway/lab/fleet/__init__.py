"""The fleet: how far one PostgreSQL carries, measured with hundreds of simulated nodes."""
