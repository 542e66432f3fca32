"""How scripts write: a run, its outbox, and what becomes of it when the database is away."""
