"""What is wrong with data, what they hold, and what they share with other data."""
