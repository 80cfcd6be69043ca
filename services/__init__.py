"""The three services and the wall sockets they share. None of them imports another."""
