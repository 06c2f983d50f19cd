"""The scheduling role: one leader at a time, one loop for each duty."""
