"""How the project is set up, started and shipped."""
