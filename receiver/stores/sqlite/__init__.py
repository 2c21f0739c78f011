"""The store in one SQLite file: `SqliteStore` owns it, `SqliteReader` looks into it."""
