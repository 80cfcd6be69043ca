"""What `python run.py` does: sets up `.venv`, starts the three services, opens the chat, takes all down.

Standard library only: it runs before anything is installed.
"""
