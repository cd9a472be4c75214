"""What runs on the server: standard library only, Python 3.9 and up, imports nothing else of the project."""
