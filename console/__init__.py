"""What people use: the terminal, and later the web."""
