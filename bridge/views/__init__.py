"""What the console shows, as plain values: templates decide nothing. Pure, and `now` is passed in."""
