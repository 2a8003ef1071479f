"""Who may use the Admin API: tokens and their roles, failed tries, and what web pages may do."""
