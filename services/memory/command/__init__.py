"""The operators' command line, `python -m services.memory.command`: to look at the memory's database and to mend it.

It works on the database itself, under the settings of the service; `export`, `import` and `forget` also through a
running service.
"""
