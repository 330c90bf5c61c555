"""Random and hostile input for a whole bridge: never a 500, and how long its loop was held up at most."""
