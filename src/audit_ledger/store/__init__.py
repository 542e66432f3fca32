"""The database: the event store, its bodies and read models, and the server that may hold it all."""
