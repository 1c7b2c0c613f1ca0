"""Pages for people: HTML with a sheet of our own, no script, and nothing from elsewhere."""
