"""`python -m client`: the chat in a terminal."""

from client.terminal.__main__ import main

main()
