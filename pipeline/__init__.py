"""The bureau's business: what is decided, and what is remembered."""
