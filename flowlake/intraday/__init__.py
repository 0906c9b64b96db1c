"""Within the session: which snapshots are due, of whom, the universe they come from, what became of them."""
