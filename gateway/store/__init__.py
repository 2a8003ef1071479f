"""PostgreSQL: tables, transactions, change log, node heartbeats, migrations, embedded server."""
